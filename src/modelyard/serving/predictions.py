"""Carries out asynchronous predictions: from the spool to a stored result and a delivered webhook.

The controller runs one runner. Workers only put files into the spool (``prediction_files``); here they get their row, are executed
by an ordinary call to the inference listener in the name of the key that submitted them, and end as a result file.

Killed anywhere, nothing is lost and nothing differs: a request is executed at least once, but its result file is written once and
never replaced, and row, spool file and webhook follow from that file alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelyard.core.clock import Clock
from modelyard.core.errors import InvalidRequest
from modelyard.serving.prediction_files import Outcome, PredictionFiles, Submission
from modelyard.serving.webhook_sender import Post
from modelyard.serving.webhooks import signature_headers
from modelyard.store.database import Store
from modelyard.store.predictions import Prediction, PredictionStatus

logger = logging.getLogger(__name__)

Caller = Callable[[Submission], tuple[int, bytes]]
"""Makes the predict call of a submission over the inference listener, in the name of its key; status and body of the answer.

Raises OSError when the listener cannot be reached.
"""
_AGAIN = frozenset({429, 503})
_SECOND = 1_000_000_000
_UNFINISHED_SECONDS = 3600
"""Age at which a half-written file has surely been left by a process that is dead."""


@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """Limits of the runner."""

    concurrency: int = 4
    """Predictions executed at the same time."""
    retention_seconds: float = 7 * 24 * 3600.0
    """How long results and rows are kept."""
    retry_seconds: float = 3600.0
    """How long a prediction is tried again while its deployment is overloaded or away."""
    first_retry_seconds: float = 0.5
    longest_retry_seconds: float = 60.0
    webhook_concurrency: int = 4
    webhook_backoff_seconds: tuple[float, ...] = (5, 30, 300, 1800, 7200, 18000, 36000)
    """Waits between tries of a webhook; after the last one it is given up."""
    poll_seconds: float = 0.2


@dataclass(slots=True)
class _Waiting:
    """A prediction that is to be tried again."""

    tries: int = 0
    due_ns: int = 0


class PredictionRunner:
    """Works off spool and webhooks. ``tick`` looks once and starts what is due; ``run`` does so until it is told to stop."""

    def __init__(
        self,
        files: PredictionFiles,
        store: Store,
        call: Caller,
        post: Post,
        *,
        secret: bytes,
        clock: Clock,
        options: RunnerOptions | None = None,
    ) -> None:
        self._files, self._store, self._call, self._post = files, store, call, post
        self._secret, self._clock = secret, clock
        self._options = options or RunnerOptions()
        self._executing: dict[str, Future[None]] = {}
        self._delivering: dict[str, Future[None]] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._wake = threading.Event()
        self._calls = ThreadPoolExecutor(self._options.concurrency, "prediction")
        self._posts = ThreadPoolExecutor(self._options.webhook_concurrency, "webhook")

    def run(self, stop: threading.Event) -> None:
        """Ticks until ``stop`` is set, then waits for what is under way. An error of one tick does not end it."""
        self._files.sweep(self._clock.time_ns() - _UNFINISHED_SECONDS * _SECOND)
        seen, until_ns = -1, 0
        while not stop.is_set():
            try:
                changes, now_ns = self._store.changes, self._clock.monotonic_ns()
                if self._wake.is_set() or changes != seen or now_ns >= until_ns:
                    self._wake.clear()
                    self.tick()
                    seen, until_ns = changes, now_ns + _SECOND
                else:  # nothing has come but, perhaps, a new submission, which is a file
                    self._start_pending()
            except Exception:  # the edge of a long-running loop
                logger.exception("Asynchronous predictions could not be looked at; trying again")
            self._wake.wait(self._options.poll_seconds)
        self.close()

    def tick(self) -> None:
        """Looks once at everything: deletes, starts and delivers what is due. Returns before started work is done."""
        self._executing = {key: future for key, future in self._executing.items() if not future.done()}
        self._delivering = {key: future for key, future in self._delivering.items() if not future.done()}
        self._delete_forgotten()
        self._delete_expired()
        self._start_pending()
        self._start_webhooks()

    def settle(self) -> None:
        """Waits until everything that was started has ended."""
        wait_for([*self._executing.values(), *self._delivering.values()])

    def close(self) -> None:
        """Ends the threads, after what they are doing."""
        self._calls.shutdown()
        self._posts.shutdown()

    def _delete_forgotten(self) -> None:
        for workspace_id, prediction_id in self._files.forgotten():
            if prediction_id in self._executing or prediction_id in self._delivering:
                continue
            self._files.remove(workspace_id, prediction_id)
            with self._store.write() as session:
                session.predictions.remove([prediction_id])
            self._waiting.pop(prediction_id, None)
            self._files.unmark(workspace_id, prediction_id)

    def _delete_expired(self) -> None:
        now = self._clock.time_ns()
        with self._store.read() as session:
            rows = session.predictions.expired(now)
        over = [row for row in rows if row.id not in self._executing and row.id not in self._delivering]
        if not over:
            return
        for row in over:
            self._files.remove(row.workspace_id, row.id)
            self._waiting.pop(row.id, None)
        with self._store.write() as session:
            session.predictions.remove([row.id for row in over])

    def _start_pending(self) -> None:
        for workspace_id, prediction_id in self._files.pending():
            if len(self._executing) >= self._options.concurrency:
                return
            if prediction_id in self._executing or self._waits(prediction_id):
                continue
            submission = self._read(workspace_id, prediction_id)
            if submission is not None:
                self._executing[prediction_id] = self._calls.submit(self._guarded, self._execute, submission)

    def _waits(self, prediction_id: str) -> bool:
        waiting = self._waiting.get(prediction_id)
        return waiting is not None and waiting.due_ns > self._clock.time_ns()

    def _read(self, workspace_id: int, prediction_id: str) -> Submission | None:
        try:
            return self._files.submission(workspace_id, prediction_id)
        except msgspec.MsgspecError:
            logger.exception("The stored request of prediction %s is damaged; it is set aside", prediction_id)
            self._files.set_aside(workspace_id, prediction_id)
            return None

    def _guarded(self, step: Callable[[Any], None], subject: Submission | Prediction) -> None:
        """Runs a step in a thread; an error is logged and the step comes again at a later tick."""
        try:
            step(subject)
        except Exception:  # the edge of a job: one prediction's fault must not end the others
            logger.exception("Prediction %s hit an unexpected error; it is tried again", subject.id)
            self._again(subject.id, 0.0)
        finally:
            self._wake.set()

    def _execute(self, submission: Submission) -> None:
        self._record(submission)
        outcome = self._files.outcome(submission.workspace_id, submission.id)
        if outcome is None:
            outcome = self._ask(submission)
            if outcome is None or self._files.is_forgotten(submission.workspace_id, submission.id):
                return
            outcome = self._files.store(outcome)
        with self._store.write() as session:
            session.predictions.finish(submission.id, PredictionStatus(outcome.status), _sentence(outcome))
        self._files.done(submission.workspace_id, submission.id)
        self._waiting.pop(submission.id, None)

    def _record(self, submission: Submission) -> None:
        with self._store.write() as session:
            if session.predictions.get(submission.workspace_id, submission.id) is not None:
                return
            session.predictions.add(
                Prediction(
                    id=submission.id,
                    workspace_id=submission.workspace_id,
                    key_id=submission.key_id,
                    deployment=submission.deployment,
                    webhook=submission.webhook,
                    created_ns=submission.created_ns,
                    expires_ns=self._clock.time_ns() + int(self._options.retention_seconds * _SECOND),
                )
            )

    def _ask(self, submission: Submission) -> Outcome | None:
        """The outcome of one try; None when it is to be tried again."""
        try:
            status, body = self._call(submission)
        except OSError as error:
            status, body = (
                503,
                msgspec.json.encode({"error": {"code": "unavailable", "message": f"The server could not be reached: {error}."}}),
            )
        late = self._clock.time_ns() - submission.created_ns > self._options.retry_seconds * _SECOND
        if status in _AGAIN and not late:
            self._again(submission.id, _retry_after(body))
            return None
        succeeded = status == 200
        return Outcome(
            id=submission.id,
            workspace_id=submission.workspace_id,
            deployment=submission.deployment,
            status=(PredictionStatus.SUCCEEDED if succeeded else PredictionStatus.FAILED).value,
            created_ns=submission.created_ns,
            finished_ns=self._clock.time_ns(),
            **({"result": msgspec.Raw(body)} if succeeded else {"error": _error_object(status, body)}),
        )

    def _again(self, prediction_id: str, least_seconds: float) -> None:
        waiting = self._waiting.setdefault(prediction_id, _Waiting())
        pause = min(self._options.longest_retry_seconds, self._options.first_retry_seconds * 2 ** min(waiting.tries, 30))
        waiting.tries += 1
        waiting.due_ns = self._clock.time_ns() + int(max(pause, min(least_seconds, self._options.longest_retry_seconds)) * _SECOND)

    def _start_webhooks(self) -> None:
        with self._store.read() as session:
            due = session.predictions.due(self._clock.time_ns())
        for row in due:
            if len(self._delivering) >= self._options.webhook_concurrency:
                return
            if row.id in self._delivering or self._waits(row.id):
                continue
            if not self._files.is_forgotten(row.workspace_id, row.id):
                self._delivering[row.id] = self._posts.submit(self._guarded, self._deliver, row)

    def _deliver(self, row: Prediction) -> None:
        """Tries a webhook once and notes the try. Any 2xx answer is a delivery; 410 ends the tries, as the specification says."""
        outcome = self._files.outcome(row.workspace_id, row.id)
        body = webhook_body(row, outcome)
        headers = signature_headers(self._secret, row.id, self._clock.time_ns() // _SECOND, body)
        try:
            status = self._post(row.webhook, headers, body)
        except InvalidRequest as error:
            logger.warning("The webhook of prediction %s is refused: %s", row.id, error.message)
            status = 410
        except OSError as error:
            logger.info("The webhook of prediction %s failed: %s", row.id, error)
            status = 0
        backoff = self._options.webhook_backoff_seconds
        over = 200 <= status < 300 or status == 410 or row.attempts >= len(backoff)
        next_ns = 0 if over else self._clock.time_ns() + int(backoff[row.attempts] * _SECOND)
        with self._store.write() as session:
            session.predictions.tried(row.id, next_ns=next_ns)
        self._waiting.pop(row.id, None)


def webhook_body(row: Prediction, outcome: Outcome | None) -> bytes:
    """What a receiver is told: type, time and the prediction as a GET would give it."""
    data: dict[str, Any] = {
        "id": row.id,
        "status": row.status.value,
        "deployment": row.deployment,
        "url": f"/v1/deployments/{row.deployment}/predictions/{row.id}",
    }
    if outcome is not None and bytes(outcome.result):
        data["result"] = outcome.result
    if outcome is not None and bytes(outcome.error):
        data["error"] = outcome.error
    time = datetime.fromtimestamp(row.finished_ns / _SECOND, UTC).isoformat().replace("+00:00", "Z")
    return msgspec.json.encode({"type": f"prediction.{row.status.value}", "timestamp": time, "data": data})


def _decoded_error(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _error_object(status: int, body: bytes) -> msgspec.Raw:
    error = _decoded_error(body) or {"code": "internal", "message": f"The call ended with status {status}."}
    return msgspec.Raw(msgspec.json.encode(error))


def _retry_after(body: bytes) -> float:
    seconds = _decoded_error(body).get("retry_after", 0.0)
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _sentence(outcome: Outcome) -> str:
    if not bytes(outcome.error):
        return ""
    return str(_decoded_error(b'{"error":' + bytes(outcome.error) + b"}").get("message", ""))

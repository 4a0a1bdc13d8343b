"""``/v1/batches``: files of calls that are answered later, by jobs of the platform's own queue."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import msgspec
import orjson

from modelyard.core.clock import Clock
from modelyard.core.durations import parse_duration
from modelyard.core.errors import Conflict, InvalidRequest, NotFound
from modelyard.protocols.call import Call
from modelyard.protocols.disk import later
from modelyard.protocols.openai.errors import JSON
from modelyard.protocols.openai.files import PURPOSE, FileRoutes, list_object, page_of, visible
from modelyard.protocols.openai.schemas import read
from modelyard.serving.batches.files import BATCH_PREFIX, Batch, BatchFiles, Counts, Ended, new_id
from modelyard.serving.batches.lines import ENDPOINTS

_SECOND = 1_000_000_000
_LONGEST_WINDOW_S = 7 * 86400.0
_MOST_LISTED, _USUAL_LISTED = 100, 20
_MOST_METADATA, _LONGEST_NAME, _LONGEST_VALUE = 16, 64, 512


class BatchRequest(msgspec.Struct, kw_only=True):
    """``POST /v1/batches``."""

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None

    def window_ns(self) -> int:
        """How long its lines may be answered. Raises InvalidRequest for what means nothing."""
        if self.endpoint not in ENDPOINTS:
            raise InvalidRequest(f"There is no endpoint {self.endpoint[:64]!r} for batches; use {', '.join(ENDPOINTS)}.")
        kept = self.metadata or {}
        if len(kept) > _MOST_METADATA or any(len(name) > _LONGEST_NAME or len(value) > _LONGEST_VALUE for name, value in kept.items()):
            pairs = f"{_MOST_METADATA} pairs, of names up to {_LONGEST_NAME} and values up to {_LONGEST_VALUE} characters"
            raise InvalidRequest(f"metadata holds at most {pairs}.")
        seconds = parse_duration(self.completion_window)
        if not 0 < seconds <= _LONGEST_WINDOW_S:
            raise InvalidRequest(f"completion_window is {self.completion_window[:16]!r}; write a time up to 7d, like 24h.")
        return int(seconds * _SECOND)


class BatchRoutes:
    """The routes."""

    def __init__(self, files: BatchFiles, uploads: FileRoutes, clock: Clock, threads: Executor | None) -> None:
        self._files, self._uploads, self._clock, self._threads = files, uploads, clock, threads

    def create(self, call: Call) -> None:
        """``POST /v1/batches``."""
        asked = read(call, BatchRequest)
        window_ns = asked.window_ns()
        now = self._clock.time_ns()
        batch = Batch(
            id=new_id(BATCH_PREFIX, now),
            workspace_id=call.grant.workspace_id,
            key_id=call.grant.key_id,
            endpoint=asked.endpoint,
            file_id=asked.input_file_id,
            window=asked.completion_window,
            metadata=asked.metadata or {},
            created_ns=now,
            expires_ns=now + window_ns,
        )

        def step() -> dict[str, Any]:
            file = self._uploads.find(call, asked.input_file_id)
            if file.purpose != PURPOSE:
                raise InvalidRequest(f"The file {file.id} was not uploaded for batches; upload it with purpose='batch'.")
            self._files.add(batch)
            return self._told(batch)

        self._reply(call, step)

    def listing(self, call: Call) -> None:
        """``GET /v1/batches``."""

        def step() -> bytes:
            seen = [batch for batch in self._files.batches(call.grant.workspace_id) if visible(call.grant, batch)]
            page, more = page_of(seen, call.exchange.query, usual=_USUAL_LISTED, most=_MOST_LISTED)
            return list_object([self._told(batch) for batch in page], more=more)

        later(call, self._threads, step, lambda body: call.reply(200, JSON, body))

    def fetch(self, call: Call) -> None:
        """``GET /v1/batches/{id}``."""
        self._reply(call, lambda: self._told(self._find(call)))

    def cancel(self, call: Call) -> None:
        """``POST /v1/batches/{id}/cancel``."""

        def step() -> dict[str, Any]:
            batch = self._find(call)
            ended = self._files.ended(batch)
            if ended is not None:
                raise Conflict(f"The batch is {ended.status} already; there is nothing to cancel.")
            self._files.cancel(batch, self._clock.time_ns())
            return self._told(batch)

        self._reply(call, step)

    def _find(self, call: Call) -> Batch:
        batch = self._files.batch(call.grant.workspace_id, call.params["id"])
        if batch is None or not visible(call.grant, batch):
            raise NotFound(f"There is no batch {call.params['id'][:64]!r}.")
        return batch

    def _reply(self, call: Call, step: Callable[[], dict[str, Any]]) -> None:
        later(call, self._threads, step, lambda body: call.reply(200, JSON, orjson.dumps(body)))

    def _told(self, batch: Batch) -> dict[str, Any]:
        """A batch as the API tells it."""
        started, ended, cancelled = self._files.started(batch), self._files.ended(batch), self._files.cancelled_ns(batch)
        status = ended.status if ended is not None else "cancelling" if cancelled else "in_progress" if started else "validating"
        counts = ended.counts if ended is not None else Counts()
        if ended is None and started is not None:
            counts = msgspec.structs.replace(self._files.counts(batch), total=started.total)
            if counts.completed + counts.failed == started.total and not cancelled:
                status = "finalizing"
        times = _ended_times(ended)
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.endpoint,
            "errors": _faults(ended),
            "input_file_id": batch.file_id,
            "completion_window": batch.window,
            "status": status,
            "output_file_id": (ended.output_id if ended else "") or None,
            "error_file_id": (ended.error_id if ended else "") or None,
            "created_at": batch.created_ns // _SECOND,
            "in_progress_at": started.time_ns // _SECOND if started else None,
            "expires_at": batch.expires_ns // _SECOND,
            "cancelling_at": cancelled // _SECOND or None,
            **times,
            "request_counts": msgspec.structs.asdict(counts),
            "metadata": batch.metadata or None,
        }


def _ended_times(ended: Ended | None) -> dict[str, int | None]:
    names = ("completed", "failed", "expired", "cancelled")
    found: dict[str, int | None] = {
        f"{name}_at": ended.time_ns // _SECOND if ended is not None and ended.status == name else None for name in names
    }
    return found | {"finalizing_at": (ended.finalizing_ns // _SECOND or None) if ended is not None else None}


def _faults(ended: Ended | None) -> dict[str, Any] | None:
    if ended is None or not ended.faults:
        return None
    data = [{"code": one.code, "message": one.message, "param": None, "line": one.line or None} for one in ended.faults]
    return {"object": "list", "data": data}

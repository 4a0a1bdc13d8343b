"""Routes of asynchronous prediction. Files are written and read in threads, so the event loop never waits for a disk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from modelyard.core.access import Action
from modelyard.core.clock import Clock
from modelyard.core.errors import NotFound
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.disk import later
from modelyard.protocols.predictions import mapping
from modelyard.protocols.records.errors import JSON, error_reply
from modelyard.protocols.records.mapping import wanted_version
from modelyard.protocols.routing import Protocol, Route
from modelyard.serving.prediction_files import Outcome, PredictionFiles, Submission, new_id
from modelyard.serving.webhooks import WebhookPolicy

T = TypeVar("T")


class _Predictions:
    """The three routes, with what they need. ``threads`` runs what touches the disk; None for the loop's own."""

    def __init__(self, files: PredictionFiles, policy: WebhookPolicy, clock: Clock, threads: Executor | None) -> None:
        self._files, self._policy, self._clock, self._threads = files, policy, clock, threads

    def submit(self, call: Call) -> None:
        """``POST …/predictions``: 202 once the request is on the disk."""
        version = wanted_version(call.exchange.query)
        view = call.plane.served(call.grant.workspace_id, call.name, version)
        body, webhook = mapping.decode(call.body, call.header(b"content-type"), view.signature, self._policy)
        now = self._clock.time_ns()
        submission = Submission(
            id=new_id(now),
            workspace_id=call.grant.workspace_id,
            key_id=call.grant.key_id,
            deployment=call.name,
            version=version,
            body=body,
            webhook=webhook,
            request_id=call.request_id,
            created_ns=now,
        )

        def accepted(_: None) -> None:
            where = (b"location", mapping.location(submission.deployment, submission.id).encode())
            call.reply(202, [*JSON, where], mapping.encode(submission))

        self._later(call, lambda: self._files.submit(submission), accepted)

    def fetch(self, call: Call) -> None:
        """``GET …/predictions/{id}``: how far it is, and the result when it is there."""
        self._later(call, lambda: self._find(call), lambda stored: call.reply(200, JSON, mapping.encode(stored)))

    def forget(self, call: Call) -> None:
        """``DELETE …/predictions/{id}``: cancels it where it has not begun, and deletes what is stored of it."""

        def step() -> None:
            stored = self._find(call)
            self._files.forget(stored.workspace_id, stored.id)

        self._later(call, step, lambda _: call.reply(204, (), b""))

    def _find(self, call: Call) -> Submission | Outcome:
        stored = self._files.find(call.grant.workspace_id, call.params["id"])
        if stored is None or stored.deployment != call.name:
            raise NotFound(
                f"Deployment {call.name!r} has no stored prediction of this id; it may have been deleted after its time of keeping."
            )
        return stored

    def _later(self, call: Call, step: Callable[[], T], answer: Callable[[T], None]) -> None:
        later(call, self._threads, step, answer)


_COLLECTION = "/v1/deployments/{name}/predictions"


def create_protocol(files: PredictionFiles, clock: Clock, policy: WebhookPolicy | None = None, threads: Executor | None = None) -> Protocol:
    """The protocol over a folder of predictions; ``policy`` says which webhooks are accepted."""
    routes = _Predictions(files, policy or WebhookPolicy(), clock, threads)
    return Protocol(
        "predictions",
        ProtocolId.RECORDS,
        (
            Route("POST", _COLLECTION, Action.INFER, routes.submit, CallKind.OTHER, names_deployment=True, keyed=True),
            Route("GET", _COLLECTION + "/{id}", Action.INFER, routes.fetch, CallKind.METADATA, names_deployment=True, keyed=True),
            Route("DELETE", _COLLECTION + "/{id}", Action.INFER, routes.forget, CallKind.OTHER, names_deployment=True, keyed=True),
        ),
        error_reply,
    )

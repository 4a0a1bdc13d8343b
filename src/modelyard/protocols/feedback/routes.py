"""``POST /v1/deployments/{name}/feedback``: how an answer turned out, by its request id. Written in threads: calls wait for no disk."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from concurrent.futures import Executor

import msgspec

from modelyard.core.access import Action
from modelyard.core.clock import Clock
from modelyard.core.errors import InvalidRequest
from modelyard.core.unreadable import UNREADABLE
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.disk import later
from modelyard.protocols.records.errors import JSON, error_reply
from modelyard.protocols.routing import Protocol, Route
from modelyard.serving.feedback import Report

_REQUEST_ID = re.compile(r"[0-9a-f]{32}")


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    request_id: str
    outcome: bool | float


class _Feedback:
    def __init__(self, write: Callable[[Report], None], clock: Clock, threads: Executor | None) -> None:
        self._write, self._clock, self._threads = write, clock, threads

    def report(self, call: Call) -> None:
        """202 once the report is written down; a report of a call that is not known is dropped later."""
        try:
            body = msgspec.json.decode(call.body, type=_Body)
        except UNREADABLE as error:
            raise InvalidRequest(
                f"The body is no report: {str(error).replace('`', chr(39))}."
                ' Send {"request_id": "…", "outcome": true}, where the outcome is true, false or a number.'
            ) from None
        request_id = body.request_id.strip().lower().replace("-", "")
        if not _REQUEST_ID.fullmatch(request_id):
            raise InvalidRequest(
                "'request_id' must be the 32 hexadecimal digits that the call's answer said in x-modelyard-request-id, or in "
                "x-request-id when the call sent none of its own."
            )
        value = float(body.outcome)
        if not math.isfinite(value):
            raise InvalidRequest("'outcome' must be true, false or a finite number.")
        report = Report(request_id=request_id, workspace_id=call.grant.workspace_id, value=value, time_ns=self._clock.time_ns())
        later(call, self._threads, lambda: self._write(report), lambda _: call.reply(202, JSON, b'{"accepted":true}'))


def create_protocol(write: Callable[[Report], None], clock: Clock, threads: Executor | None = None) -> Protocol:
    """The protocol; ``write`` keeps a report, or raises Unavailable, and runs in one of ``threads`` (None: the loop's own)."""
    route = _Feedback(write, clock, threads).report
    return Protocol(
        "feedback",
        ProtocolId.RECORDS,
        (Route("POST", "/v1/deployments/{name}/feedback", Action.INFER, route, CallKind.METADATA, names_deployment=True),),
        error_reply,
    )

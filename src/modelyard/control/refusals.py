"""Refusals of a right go into the audit log, in a transaction of their own: that of the call is undone."""

from __future__ import annotations

import logging

from fastapi import Request

from modelyard.control.access import Caller
from modelyard.core.errors import ModelyardError, PermissionDenied

log = logging.getLogger("modelyard.control")
ACTION = "right.refused"
_LONGEST = 500


def record_refusal(request: Request, error: PermissionDenied) -> None:
    """Records who was refused what, and why. The caller is refused even where this fails, which the log then tells."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        return
    subject = f"{request.method} {request.url.path}"[:_LONGEST]
    try:
        with caller.services.store.write() as session:
            session.audit.append(caller.actor, ACTION, subject, after={"reason": error.message[:_LONGEST]})
    except ModelyardError as problem:
        log.error("The refusal of %s to %s is not in the audit log: %s", subject, caller.actor.name, problem.message)  # noqa: TRY400

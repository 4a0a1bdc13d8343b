"""Refusals of a right go into the audit log, behind the call: how ``gate/refusals.py`` and ``ledger/refusals.py`` say."""

from __future__ import annotations

from fastapi import Request

from modelyard.control.access import Caller
from modelyard.control.services import Services
from modelyard.core.errors import PermissionDenied
from modelyard.core.refusals import Refusal, Why
from modelyard.gate.authenticate import WrongNetwork
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID


def record_refusal(request: Request, error: PermissionDenied) -> None:
    """Notes who was refused what, and why."""
    caller: Caller | None = getattr(request.state, "caller", None)
    subject = f"{request.method} {request.url.path}"
    route = getattr(request.scope.get("route"), "path", "")
    services: Services = request.app.state.services
    if isinstance(error, WrongNetwork):
        more = {"place": "", "subject": subject, "reason": error.message, "request_id": request.state.request_id}
        services.refusals.of_key(error.grant, Why.NETWORK, address=peer(request), **more)
    elif caller is not None:
        services.refusals.note(
            Refusal(
                workspace_id=caller.actor.workspace_id,
                actor=caller.actor.name,
                why=Why.ACTION,
                place=f"{request.method} {route}",
                subject=subject,
                reason=error.message,
                address=caller.actor.address,
                request_id=caller.actor.request_id,
            )
        )


def record_failed_sign_in(request: Request, name: str, reason: str) -> None:
    """Notes that somebody did not get in, under the name that was tried, where a person has it: others are made up."""
    services: Services = request.app.state.services
    services.refusals.note(
        Refusal(
            workspace_id=DEFAULT_WORKSPACE_ID,
            actor=f"person:{name}" if name and services.people.exists(name) else "nobody",
            why=Why.SIGN_IN,
            place=request.url.path,
            subject=name or request.url.path,
            reason=reason,
            address=peer(request),
            request_id=request.state.request_id,
        )
    )


def peer(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""

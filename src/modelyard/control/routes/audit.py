"""Who changed what, or was refused; and whether that log is whole."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import BYTES, answer, returns
from modelyard.control.spool import spooled
from modelyard.core.access import Action
from modelyard.core.events import AuditEvent, AuditReport

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])
Auditor = Annotated[Caller, Depends(Needs(Action.AUDIT))]
_NOBODY: list[str] = []


@router.get("", summary="Changes and refusals, newest first", responses=returns(list[AuditEvent]))
def listed(caller: Auditor, limit: Annotated[int, Query(ge=1, le=1000)] = 100, before: Annotated[int, Query(ge=0)] = 0) -> Response:
    """``before`` is the id of the last event of the page before."""
    with caller.services.store.read() as session:
        return answer(session.audit.list(caller.workspace_id, limit=limit, before_id=before))


@router.get("/verify", summary="Whether the log is whole", responses=returns(AuditReport))
def verified(
    caller: Auditor, trust: Annotated[list[str], Query(description="Public keys (hex) that signed it too.")] = _NOBODY
) -> Response:
    """Checks every row against the chain of hashes and the signed heads, and names those that were changed, removed or moved."""
    return answer(caller.services.audit.verify(caller.workspace_id, trust=trust))


@router.get("/export", summary="The whole log with its signed heads, as JSON lines", responses=BYTES)
def exported(caller: Auditor) -> Response:
    """Lines are ``{"event": …}``, oldest first, then ``{"head": …}``."""
    log = caller.services.audit
    log.sign()
    headers = {"content-disposition": 'attachment; filename="audit.jsonl"', "cache-control": "no-store"}
    pieces = spooled(log.export(caller.workspace_id), caller.services.home.temporary)
    return StreamingResponse(pieces, headers=headers, media_type="application/jsonl")


@router.get("/key", summary="The public key that signs the log")
def key(caller: Auditor) -> dict[str, str]:
    """Ed25519, hexadecimal. Keep it elsewhere, to check exports by."""
    return {"public_key": caller.services.audit.public_key}

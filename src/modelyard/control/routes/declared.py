"""Declared state."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import answer, returns
from modelyard.control.apply import apply_steps, check_rights, only_planned, read_state
from modelyard.control.declared import plan
from modelyard.control.document import DocumentBody
from modelyard.core.access import Action
from modelyard.core.api import Applied

router = APIRouter(prefix="/api/v1", tags=["declared state"])
Reader = Annotated[Caller, Depends(Needs(Action.READ))]


@router.post("/plan", summary="What applying a document would change", responses=returns(Applied))
def planned(caller: Reader, body: DocumentBody) -> Response:
    return answer(only_planned(plan(body.document, read_state(caller, body.document), prune=body.prune)))


@router.post("/apply", summary="Makes the platform what a document says", responses=returns(Applied))
def applied(caller: Reader, body: DocumentBody) -> Response:
    """Needs the right of each change it makes. Doing it again changes nothing. The secrets of keys it creates are shown this once."""
    steps = plan(body.document, read_state(caller, body.document), prune=body.prune)
    check_rights(caller, steps)
    response = answer(apply_steps(caller, steps))
    response.headers["cache-control"] = "no-store"
    return response

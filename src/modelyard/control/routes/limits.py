"""Limits: how much may be used by whom in which time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.schemas import LimitBody
from modelyard.core.access import Action
from modelyard.core.errors import PermissionDenied
from modelyard.core.limits import Limit, Scope, parse_quantity

router = APIRouter(prefix="/api/v1/limits", tags=["limits"])
Reader = Annotated[Caller, Depends(Needs(Action.READ, Action.AUDIT))]
Manager = Annotated[Caller, Depends(Needs(Action.MANAGE))]


@router.get("", summary="Limits of the workspace", responses=returns(list[Limit]))
def listed(caller: Reader) -> Response:
    found = caller.services.limits.list(caller.workspace_id)
    of_deployments = {Scope.DEPLOYMENT, Scope.SHARE}
    return answer([limit for limit in found if limit.scope not in of_deployments or caller.grant.covers(limit.subject.partition("/")[0])])


@router.put("", summary="Sets a limit, or gives it another amount", responses=returns(Limit))
def put(caller: Manager, body: LimitBody) -> Response:
    """One scope, subject, measure and window have one limit. It binds within a second; what was used before in its window counts
    where it was limited before.
    """
    whole_workspace(caller)
    if body.scope is Scope.PLATFORM and not caller.grant.allows(Action.ADMIN):
        raise PermissionDenied("Only administrators of the platform limit all of it; limit your workspace instead.")
    limit = caller.services.limits.set(caller.actor, body.scope, body.subject, parse_quantity(body.limit), expect_revision=body.revision)
    caller.services.propagate()
    return answer(limit)


@router.delete("/{limit_id}", summary="Ends a limit", status_code=204, responses=DONE)
def removed(caller: Manager, limit_id: int) -> Response:
    whole_workspace(caller)
    caller.services.limits.remove(caller.actor, limit_id)
    caller.services.propagate()
    return done()


def whole_workspace(caller: Caller) -> None:
    """A key that is scoped to deployments does not decide about others' limits."""
    if caller.grant.deployments:
        raise PermissionDenied("This key is for single deployments; limits are set with one for the whole workspace.")

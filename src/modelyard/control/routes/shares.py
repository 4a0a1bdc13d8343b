"""Shares: deployments that other workspaces may call."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.core.access import Action
from modelyard.core.shares import ShareView

router = APIRouter(prefix="/api/v1/shares", tags=["shares"])
Reader = Annotated[Caller, Depends(Needs(Action.READ, Action.AUDIT))]
Manager = Annotated[Caller, Depends(Needs(Action.MANAGE))]


@router.get("", summary="What is shared with other workspaces, and by them", responses=returns(list[ShareView]))
def listed(caller: Reader) -> Response:
    found = caller.services.shares.list(caller.workspace_id)
    return answer([share for share in found if caller.grant.covers(share.deployment)])


@router.put("/{deployment}/{workspace}", summary="Lets another workspace call a deployment", responses=returns(ShareView))
def put(caller: Manager, deployment: str, workspace: str) -> Response:
    """Its keys call it by the ``name`` of the answer. What they call counts, and costs, in their workspace, by this one's prices; limits of
    both bind it. Sharing it again changes nothing.
    """
    caller.check_deployment(deployment, Action.MANAGE)
    made = caller.services.shares.share(caller.actor, deployment, workspace)
    caller.services.propagate()
    return answer(made)


@router.delete("/{deployment}/{workspace}", summary="Ends a share", status_code=204, responses=DONE)
def removed(caller: Manager, deployment: str, workspace: str) -> Response:
    """The other workspace's calls are refused within a second, as if there were no such deployment."""
    caller.check_deployment(deployment, Action.MANAGE)
    caller.services.shares.unshare(caller.actor, deployment, workspace)
    caller.services.propagate()
    return done()

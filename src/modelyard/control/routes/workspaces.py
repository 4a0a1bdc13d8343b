"""Workspaces and their members."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.routes.limits import whole_workspace
from modelyard.control.schemas import MemberBody, WorkspaceBody
from modelyard.core.access import Action
from modelyard.core.principals import Member, WorkspaceView

router = APIRouter(prefix="/api/v1", tags=["workspaces"])
Anybody = Annotated[Caller, Depends(Needs())]
Administrator = Annotated[Caller, Depends(Needs(Action.ADMIN))]
Manager = Annotated[Caller, Depends(Needs(Action.MANAGE))]
Looker = Annotated[Caller, Depends(Needs(Action.MANAGE, Action.AUDIT))]


@router.get("/workspaces", summary="Workspaces of the caller", responses=returns(list[WorkspaceView]))
def listed(caller: Anybody) -> Response:
    """Those that the caller is a member of; all of them for an administrator."""
    return answer(caller.services.workspaces.list(caller.grant.principal_id))


@router.post("/workspaces", summary="Makes a workspace", status_code=201, responses=returns(WorkspaceView, 201))
def create(caller: Administrator, body: WorkspaceBody) -> Response:
    """It is empty. Administrators act in it with the header ``x-modelyard-workspace``; ``PUT /members/NAME`` makes its owner."""
    return answer(caller.services.workspaces.create(caller.actor, body.name), 201)


@router.patch("/workspaces/{name}", summary="Renames a workspace", responses=returns(WorkspaceView))
def renamed(caller: Administrator, name: str, body: WorkspaceBody) -> Response:
    """Keys stay valid, and calls under way are answered."""
    found, _ = caller.services.workspaces.find(name, caller.grant.principal_id)
    return answer(caller.services.workspaces.rename(caller.actor, found.id, body.name, body.revision))


@router.delete("/workspaces/{name}", summary="Removes an empty workspace", status_code=204, responses=DONE)
def removed(caller: Administrator, name: str) -> Response:
    """Its keys and memberships end; its usage and audit log stay."""
    found, _ = caller.services.workspaces.find(name, caller.grant.principal_id)
    caller.services.workspaces.remove(caller.actor, found.id)
    caller.services.propagate()
    return done()


@router.get("/members", summary="Who is what in the workspace", responses=returns(list[Member]))
def members(caller: Looker) -> Response:
    return answer(caller.services.members.list(caller.workspace_id))


@router.get("/members/{name}", summary="One member", responses=returns(Member))
def member(caller: Looker, name: str) -> Response:
    return answer(caller.services.members.get(caller.workspace_id, name))


@router.put("/members/{name}", summary="Makes somebody a member, or gives other roles", responses=returns(Member))
def admitted(caller: Manager, name: str, body: MemberBody) -> Response:
    """Keys of the member can do no more than the new roles from the next second on."""
    whole_workspace(caller)
    made = caller.services.members.put(
        caller.actor, caller.grant, name, body.roles, trust=body.trust, service=body.service, expect_revision=body.revision
    )
    caller.services.propagate()
    return answer(made)


@router.delete("/members/{name}", summary="Ends a membership", status_code=204, responses=DONE)
def dismissed(caller: Manager, name: str) -> Response:
    """Every key that the member has in the workspace ends with it."""
    whole_workspace(caller)
    caller.services.members.remove(caller.actor, caller.grant, name)
    caller.services.propagate()
    return done()

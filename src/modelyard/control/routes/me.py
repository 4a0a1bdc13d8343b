"""Self-service: what the caller is, may call and used, and keys of its own."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import DONE, answer, done, returns
from modelyard.control.routes.keys import issue, rotate, shown_once, views, wanted
from modelyard.control.routes.usage import Wished
from modelyard.control.schemas import NewKeyBody, RotationBody
from modelyard.core.access import Action
from modelyard.core.api import IssuedKey, KeyView, Me
from modelyard.core.errors import PermissionDenied
from modelyard.core.usage import UsageRow
from modelyard.identity.bounds import check_reach
from modelyard.ledger.query import UsageQuery

router = APIRouter(prefix="/api/v1/me", tags=["self-service"])
Anybody = Annotated[Caller, Depends(Needs())]
Oneself = Annotated[Caller, Depends(Needs(Action.SELF))]


@router.get("", summary="Who the caller is, and what it may call", responses=returns(Me))
def shown(caller: Anybody) -> Response:
    grant = caller.grant
    with caller.services.store.read() as session:
        principal = session.principals.get(grant.principal_id)
        member = session.memberships.get(grant.workspace_id, grant.principal_id)
        workspace = session.workspaces.get(grant.workspace_id)
        names = [found.name for found in session.deployments.list(grant.workspace_id)]
        names += [share.name for share in session.shares.received(grant.workspace_id)]
    found = Me(
        name=principal.name if principal is not None else "",
        kind=principal.kind.value if principal is not None else "",
        admin=principal is not None and principal.admin,
        workspace=workspace.name if workspace is not None else "",
        roles=member.roles if member is not None else (),
        actions=tuple(sorted(grant.actions)),
        deployments=tuple(name for name in names if grant.allows(Action.INFER, name)),
        limits=tuple(caller.services.limits.binding(grant)),
        inference_url=caller.inference_url,
    )
    return answer(found)


@router.get("/usage", summary="What the caller's keys used, summed", responses=returns(list[UsageRow]))
def usage(caller: Anybody, wished: Wished) -> Response:
    """As ``GET /usage``, of the caller's own keys alone."""
    keys = caller.services.keys.list(caller.workspace_id, caller.grant.principal_id)
    return answer(UsageQuery(caller.services.store).usage(msgspec.structs.replace(wished, keys=tuple(key.id for key in keys))))


@router.get("/keys", summary="The caller's own keys, without their secrets", responses=returns(list[KeyView]))
def keys(caller: Oneself) -> Response:
    return answer(views(caller, caller.services.keys.list(caller.workspace_id, caller.grant.principal_id)))


@router.post("/keys", summary="Issues a key of the caller's own", status_code=201, responses=returns(IssuedKey, 201))
def create(caller: Oneself, body: NewKeyBody) -> Response:
    """Never with more rights than the caller has now, and never more than it has later."""
    if body.principal:
        raise PermissionDenied("Here everybody makes keys of their own; leave the principal out, or use POST /api/v1/keys.")
    return shown_once(caller, issue(caller, wanted(body)), 201)


@router.post("/keys/{key_id}/rotate", summary="Gives a key of one's own another secret", responses=returns(IssuedKey))
def rotated(caller: Oneself, key_id: str, body: RotationBody) -> Response:
    caller.services.keys.get(caller.workspace_id, key_id, caller.grant.principal_id)  # whose else it is, it is not there
    return shown_once(caller, rotate(caller, key_id, body), 200)


@router.delete("/keys/{key_id}", summary="Ends a key of one's own", status_code=204, responses=DONE)
def revoked(caller: Oneself, key_id: str) -> Response:
    check_reach(caller.services.keys.get(caller.workspace_id, key_id, caller.grant.principal_id), caller.grant)
    caller.services.keys.revoke(caller.actor, key_id)
    caller.services.propagate()
    return done()

"""Pools: what the jobs of a workspace may hold at the same time."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import answer, returns
from modelyard.control.schemas import PoolBody
from modelyard.core.access import Action
from modelyard.core.api import PoolView
from modelyard.core.jobs import WorkspacePool

router = APIRouter(prefix="/api/v1/pools", tags=["jobs"])
Reader = Annotated[Caller, Depends(Needs(Action.READ))]
Admin = Annotated[Caller, Depends(Needs(Action.ADMIN))]


@router.get("", summary="Pools that the caller may see", responses=returns(list[PoolView]))
def listed(caller: Reader) -> Response:
    """Administrators see every workspace, everybody else their own."""
    pools = caller.services.pools
    return answer(pools.all() if caller.grant.allows(Action.ADMIN) else [pools.mine(caller.grant)])


@router.put("/{workspace}", summary="Bounds what the jobs of a workspace may hold", responses=returns(PoolView))
def put(caller: Admin, workspace: Annotated[str, Path(max_length=63)], body: PoolBody) -> Response:
    """It holds for jobs that start from now on; those that run already go on."""
    return answer(
        caller.services.pools.set(caller.actor, workspace, msgspec.convert({"workspace_id": 0, **body.model_dump()}, WorkspacePool))
    )

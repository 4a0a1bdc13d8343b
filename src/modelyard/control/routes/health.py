"""Whether this process lives and can be used, and its figures."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from modelyard.control.access import Caller, Needs
from modelyard.control.services import Services
from modelyard.core.access import Action
from modelyard.core.errors import Unavailable

router = APIRouter(tags=["health"])
Watcher = Annotated[Caller, Depends(Needs(Action.METRICS))]


@router.get("/livez", summary="Whether this process answers; needs no key")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether this process can do its work; needs no key")
async def readyz(request: Request) -> dict[str, str]:
    services: Services = request.app.state.services
    reason = await run_in_threadpool(services.ready)
    if reason:
        raise Unavailable(reason, retry_after=1.0)
    return {"status": "ok"}


@router.get("/metrics", summary="Figures of all processes for Prometheus", response_class=Response)
def metrics(caller: Watcher) -> Response:
    """Prometheus sends the key as ``authorization: {credentials_file: …}`` of its scrape configuration."""
    return Response(caller.services.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

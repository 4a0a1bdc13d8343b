"""The platform as a whole: who is asking, status, backup, garbage."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from modelyard import __version__
from modelyard.control.access import Caller, Needs
from modelyard.control.answers import BYTES, answer, returns
from modelyard.control.archive import Archive
from modelyard.control.schemas import GarbageBody, SealBody
from modelyard.core.access import Action
from modelyard.core.api import Sealed, Whoami
from modelyard.core.machine import Resources
from modelyard.core.policy import Policy
from modelyard.runtimes.remote_settings import origin_of, sealing_context
from modelyard.train.recipes.parse import recipe_schema

router = APIRouter(prefix="/api/v1", tags=["platform"])
Anybody = Annotated[Caller, Depends(Needs())]
Reader = Annotated[Caller, Depends(Needs(Action.READ))]
Developer = Annotated[Caller, Depends(Needs(Action.DEVELOP))]
Administrator = Annotated[Caller, Depends(Needs(Action.ADMIN))]


@router.get("/whoami", summary="Whom the key makes the caller, and where it may call models", responses=returns(Whoami))
def whoami(caller: Anybody) -> Response:
    with caller.services.store.read() as session:
        workspace = session.workspaces.get(caller.workspace_id)
    grant = caller.grant
    limits = caller.services.limits.binding(grant)
    found = Whoami(
        key_id=grant.public_id,
        workspace=workspace.name if workspace else "",
        actions=tuple(sorted(grant.actions)),
        deployments=tuple(sorted(grant.deployments)),
        expires_ns=grant.expires_ns,
        inference_url=caller.inference_url,
        server_version=__version__,
        limits=tuple(limits),
    )
    return answer(found)


@router.post("/seal", summary="Seals a key of an upstream endpoint", responses=returns(Sealed))
def seal(caller: Developer, body: SealBody) -> Response:
    """What comes back opens on this platform only, for this workspace's calls of that host; it may stand in ``remote.json``."""
    sealed = caller.services.sealer.seal(body.secret.get_secret_value(), sealing_context(caller.workspace_id, body.url))
    return answer(Sealed(sealed=sealed, origin=origin_of(body.url)))


@router.get("/status", summary="Processes, deployments, jobs and sizes")
def status(caller: Reader) -> dict[str, Any]:
    return {**caller.services.status(caller.workspace_id), "version": __version__, "inference_url": caller.inference_url}


@router.get("/resources", summary="What the machine and each process of the platform use", responses=returns(Resources))
def resources(caller: Reader) -> Response:
    """Jobs and replicas are those of the caller's workspace; administrators see all. Totals only grow: two answers give rates."""
    return answer(caller.services.resources(None if caller.grant.allows(Action.ADMIN) else caller.workspace_id))


@router.post("/backup", summary="An archive of everything that restoring needs", responses=BYTES)
def backup(caller: Administrator) -> Response:
    """The archive holds the hashes of keys, so keep it as safe as the home itself. It is whole when its transfer ends well."""
    with caller.services.store.write() as session:
        session.audit.append(caller.actor, "platform.backup", "platform")
    headers = {"content-disposition": 'attachment; filename="modelyard.backup"', "cache-control": "no-store"}
    return StreamingResponse(Archive(caller.services).pieces(), headers=headers, media_type="application/octet-stream")


@router.post("/gc", summary="Deletes stored bytes that nothing refers to")
def collect_garbage(caller: Administrator, body: GarbageBody) -> Response:
    """Never touches uploads that are younger than the platform's own floor, because a push may be using them."""
    age = max(body.min_age_seconds, caller.services.garbage_age_seconds)
    report = msgspec.to_builtins(caller.services.registry.collect_garbage(age))
    with caller.services.store.write() as session:
        session.audit.append(caller.actor, "platform.gc", "platform", after=report)
    return answer(report)


@router.get("/schemas/recipe", summary="The JSON Schema of a training recipe")
def recipe(_: Reader) -> dict[str, Any]:
    return recipe_schema()


@router.get("/schemas/policy", summary="The JSON Schema of a deployment's policy")
def policy_schema(_: Reader) -> dict[str, Any]:
    return msgspec.json.schema(Policy)


@router.get("/openapi.json", summary="This document", include_in_schema=False)
def openapi(request: Request, _: Anybody) -> dict[str, Any]:
    document: dict[str, Any] = request.app.openapi()
    return document

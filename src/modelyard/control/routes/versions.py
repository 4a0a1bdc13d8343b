"""Versions and their files."""

from __future__ import annotations

from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Query, Response

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import BYTES, DONE, PAGE, answer, done, page, returns
from modelyard.control.references import reference
from modelyard.control.registering import register
from modelyard.control.schemas import NewVersionBody
from modelyard.control.sending import sent
from modelyard.core.access import Action
from modelyard.core.errors import NotFound
from modelyard.core.models import REPORT, ArtifactFile, Lineage, Version

router = APIRouter(prefix="/api/v1/models/{name}/versions", tags=["versions"])
Reader = Annotated[Caller, Depends(Needs(Action.READ))]
Developer = Annotated[Caller, Depends(Needs(Action.DEVELOP))]


@router.post("", summary="Registers uploaded files as the next version", status_code=201, responses=returns(Version, 201))
def create(caller: Developer, name: str, body: NewVersionBody) -> Response:
    """The model runs in confinement first; it is stored whole or not at all. The same push again gives the same version."""
    return answer(register(caller, name, body, Lineage(source="push")), 201)


@router.get("", summary="Versions, newest first", responses=returns(list[Version]))
def listed(
    caller: Reader,
    name: str,
    metric: Annotated[list[str], Query(max_length=20, examples=[["accuracy>=0.9"]])] = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    return answer(caller.services.registry.versions(caller.workspace_id, name, metrics=metric))


@router.get("/{version}", summary="One version", responses=returns(Version))
def shown(caller: Reader, name: str, version: str) -> Response:
    """``version`` is a number, an alias, ``latest``, or ``-`` for the champion (the newest where there is none)."""
    return answer(caller.services.registry.version(caller.workspace_id, reference(name, version)))


@router.delete("/{version}", summary="Removes a version", status_code=204, responses=DONE)
def removed(caller: Developer, name: str, version: str) -> Response:
    """Refused while an alias or a deployment uses it; its number is never given again."""
    caller.services.registry.delete_version(caller.actor, reference(name, version))
    return done()


@router.get("/{version}/files/{path:path}", summary="A file of the artifact", responses=BYTES)
def file(caller: Reader, name: str, version: str, path: str) -> Response:
    found = caller.services.registry.version(caller.workspace_id, reference(name, version))
    return _sent(caller.services.registry.open_file(found, path), found.artifact.files, path)


@router.get("/{version}/attachments/{path:path}", summary="A plot or another attachment", responses=BYTES)
def attachment(caller: Reader, name: str, version: str, path: str) -> Response:
    found = caller.services.registry.version(caller.workspace_id, reference(name, version))
    return _sent(caller.services.registry.open_attachment(found, path), found.attachments, path)


@router.get("/{version}/report", summary="The version's page", responses=PAGE)
def report(caller: Reader, name: str, version: str) -> Response:
    """One HTML page that needs nothing else: metrics, pictures, parts of the rows, and what the version was made of."""
    found = caller.services.registry.version(caller.workspace_id, reference(name, version))
    if all(file.path != REPORT for file in found.attachments):
        raise NotFound(f"{found.reference} has no report: only what is trained or optimized here has one.")
    with caller.services.registry.open_attachment(found, REPORT) as stream:
        return page(stream.read())


def _sent(stream: BinaryIO, files: tuple[ArtifactFile, ...], path: str) -> Response:
    known = next(file for file in files if file.path == path)
    return sent(stream, path, known.digest, known.size)

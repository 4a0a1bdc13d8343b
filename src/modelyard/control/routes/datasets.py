"""Uploads and data sets."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from modelyard.control.access import Caller, Needs
from modelyard.control.answers import BYTES, answer, returns
from modelyard.control.resuming import MOST_PIECE, PartialUpload
from modelyard.control.sending import sent
from modelyard.control.uploads import receive
from modelyard.core.access import Action
from modelyard.core.api import Upload, UploadProgress
from modelyard.core.errors import InvalidData, NotFound, TooLarge
from modelyard.core.models import Dataset, check_name
from modelyard.store.blobs import Blob

router = APIRouter(prefix="/api/v1", tags=["data"])
Reader = Annotated[Caller, Depends(Needs(Action.READ))]
Developer = Annotated[Caller, Depends(Needs(Action.DEVELOP))]
_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


@router.put("/uploads", summary="Stores bytes and names them by their digest", responses=returns(Upload), openapi_extra=_BODY)
async def upload(request: Request, caller: Developer) -> Response:
    """What no version names within a day may be collected as garbage."""
    blob = await receive(request, caller.services)
    return answer(Upload(digest=blob.digest, size=blob.size))


@router.get("/uploads/{digest}", summary="How much of a file has arrived", responses=returns(UploadProgress))
def uploaded(caller: Developer, digest: str) -> Response:
    """Where the next piece of an upload belongs, for going on after a broken connection."""
    return answer(PartialUpload(caller.services, caller.workspace_id, digest).progress())


@router.patch("/uploads/{digest}", summary="Takes the next piece of a file", responses=returns(UploadProgress), openapi_extra=_BODY)
async def resume(
    request: Request,
    caller: Developer,
    digest: str,
    offset: Annotated[int, Query(ge=0, description="Where the piece belongs.")],
    size: Annotated[int, Query(ge=1, description="Bytes of the whole file.")],
) -> Response:
    """The last piece makes it a stored file, if its SHA-256 is ``digest``."""
    upload = PartialUpload(caller.services, caller.workspace_id, digest)
    piece = bytearray()
    async for chunk in request.stream():
        piece += chunk
        if len(piece) > MOST_PIECE:
            raise TooLarge(f"A piece has more than {MOST_PIECE} bytes; send smaller ones.")
    return answer(await run_in_threadpool(upload.append, bytes(piece), offset, size))


@router.post("/datasets", summary="Stores a file as the next version of a data set", responses=returns(Dataset, 201), openapi_extra=_BODY)
async def create(
    request: Request,
    caller: Developer,
    name: Annotated[str, Query(examples=["penguins"])],
    filename: Annotated[str, Query(max_length=255, examples=["penguins.csv"])] = "data.csv",
) -> Response:
    """The content of the newest version again is no new version."""
    check_name(name, "dataset")
    blob = await receive(request, caller.services)
    if not blob.size:
        raise InvalidData(f"The file {filename!r} is empty; send a table with a header and rows.")
    dataset, new = await run_in_threadpool(_stored, caller, name, PurePosixPath(filename.replace("\\", "/")).name or "data.csv", blob)
    return answer(dataset, 201 if new else 200)


@router.get("/datasets", summary="All data sets, newest version of each name first", responses=returns(list[Dataset]))
def listed(caller: Reader, name: str = "") -> Response:
    with caller.services.store.read() as session:
        return answer(session.datasets.list(caller.workspace_id, name))


@router.get("/datasets/{name}/{version}/content", summary="The file of a data set", responses=BYTES)
def content(caller: Reader, name: str, version: int) -> Response:
    with caller.services.store.read() as session:
        found = session.datasets.get(caller.workspace_id, name, version)
    if found is None:
        raise NotFound(f"There is no data set {name}@{version}.")
    return sent(caller.services.blobs.open_blob(found.digest), found.filename, found.digest, found.size)


def _stored(caller: Caller, name: str, filename: str, blob: Blob) -> tuple[Dataset, bool]:
    with caller.services.store.write() as session:
        newest = session.datasets.get(caller.workspace_id, name)
        if newest is not None and newest.digest == blob.digest:
            return newest, False
        wanted = Dataset(id=0, workspace_id=caller.workspace_id, name=name, number=0, digest=blob.digest, size=blob.size, filename=filename)
        made = session.datasets.add(wanted)
        session.audit.append(caller.actor, "dataset.create", f"{name}@{made.number}", after={"digest": blob.digest, "size": blob.size})
        return made, True

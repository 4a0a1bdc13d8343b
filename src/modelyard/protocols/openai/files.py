"""``/v1/files``: files that batches read and write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar
from typing import Protocol as Seam
from urllib.parse import parse_qs

import orjson

from modelyard.core.access import Grant
from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, TooLarge, Unsupported
from modelyard.protocols.call import Call
from modelyard.protocols.disk import later
from modelyard.protocols.generating import begin
from modelyard.protocols.multipart import Field, read_form
from modelyard.protocols.openai.errors import JSON, stream_error
from modelyard.serving.batches.files import FILE_PREFIX, BatchFiles, StoredFile, new_id

PURPOSE = "batch"
LONGEST_EXPIRY_S = 30 * 86400
_SHORTEST_EXPIRY_S = 3600
_MOST_LISTED = 10_000
_LONGEST_NAME = 255
_PIECE = 1 << 20
_CONTENT = ((b"content-type", b"application/octet-stream"),)


class Owned(Seam):
    """What belongs to a key."""

    @property
    def id(self) -> str: ...
    @property
    def key_id(self) -> int: ...


T = TypeVar("T", bound=Owned)


def visible(grant: Grant, owned: Owned) -> bool:
    """Whether a key may see it: its own, and a key for all of the workspace's deployments sees all of the workspace's."""
    return not grant.deployments or owned.key_id == grant.key_id


def page_of(found: Sequence[T], query: str, *, usual: int, most: int) -> tuple[list[T], bool]:
    """The part of a list, newest first, that a query asks for, and whether there is more. Raises InvalidRequest."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    order = asked.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise InvalidRequest(f"There is no order {order[:16]!r}; use asc or desc.")
    written = asked.get("limit", str(usual))
    if not written.isdecimal() or not 1 <= int(written) <= most:
        raise InvalidRequest(f"limit is {written[:16]!r}; it must lie between 1 and {most}.")
    listed = list(found) if order == "desc" else list(reversed(found))
    if "after" in asked:
        places = [at for at, one in enumerate(listed) if one.id == asked["after"]]
        if not places:
            raise NotFound(f"There is no {asked['after'][:64]!r} to go on after.")
        listed = listed[places[0] + 1 :]
    return listed[: int(written)], len(listed) > int(written)


def list_object(data: Sequence[dict[str, Any]], *, more: bool) -> bytes:
    """A page of a list as the API tells it."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return orjson.dumps({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more})


def file_object(file: StoredFile) -> dict[str, Any]:
    """A file as the API tells it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_ns // 1_000_000_000,
        "expires_at": file.expires_ns // 1_000_000_000 or None,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


class FileRoutes:
    """The routes. ``most_bytes`` is what a workspace's files may take together; ``threads`` runs what touches the disk."""

    def __init__(self, files: BatchFiles, clock: Clock, threads: Executor | None, most_bytes: int) -> None:
        self._files, self._clock, self._threads, self._most = files, clock, threads, most_bytes

    def upload(self, call: Call) -> None:
        """``POST /v1/files``."""
        fields = {field.name: field for field in read_form(call.header(b"content-type"), call.body)}
        given = fields.get("file")
        if given is None or given.filename is None:
            raise InvalidRequest("The form has no 'file'; send one, with its name.")
        purpose = _text(fields, "purpose")
        if purpose != PURPOSE:
            raise Unsupported(f"Files are kept for batches only; the purpose must be 'batch', and {purpose[:64]!r} came.")
        now = self._clock.time_ns()
        file = StoredFile(
            id=new_id(FILE_PREFIX, now),
            workspace_id=call.grant.workspace_id,
            key_id=call.grant.key_id,
            name=given.filename.rpartition("/")[2][:_LONGEST_NAME] or "upload",
            purpose=PURPOSE,
            size=len(given.value),
            created_ns=now,
            expires_ns=now + _expiry_s(fields) * 1_000_000_000,
        )

        def step() -> None:
            if self._files.used_bytes(file.workspace_id) + file.size > self._most:
                raise TooLarge(f"The files of this workspace may take {self._most >> 20} MiB together; delete some first.")
            self._files.add_file(file, given.value)

        self._later(call, step, lambda _: call.reply(200, JSON, orjson.dumps(file_object(file))))

    def listing(self, call: Call) -> None:
        """``GET /v1/files``."""
        purpose = parse_qs(call.exchange.query).get("purpose", [""])[-1]

        def step() -> tuple[list[StoredFile], bool]:
            seen = [file for file in self._files.files(call.grant.workspace_id) if visible(call.grant, file)]
            wanted = [file for file in seen if not purpose or file.purpose == purpose]
            return page_of(wanted, call.exchange.query, usual=_MOST_LISTED, most=_MOST_LISTED)

        def answer(page: tuple[list[StoredFile], bool]) -> None:
            call.reply(200, JSON, list_object([file_object(file) for file in page[0]], more=page[1]))

        self._later(call, step, answer)

    def fetch(self, call: Call) -> None:
        """``GET /v1/files/{id}``."""
        self._later(call, lambda: self.find(call, call.params["id"]), lambda file: call.reply(200, JSON, orjson.dumps(file_object(file))))

    def content(self, call: Call) -> None:
        """``GET /v1/files/{id}/content``."""
        begin(call, self._send(call))

    def delete(self, call: Call) -> None:
        """``DELETE /v1/files/{id}``."""

        def step() -> StoredFile:
            file = self.find(call, call.params["id"])
            user = next((batch for batch in self._files.open() if batch.file_id == file.id), None)
            if user is not None:
                raise Conflict(f"The file is read by {user.id}, which has not ended; cancel that first.")
            self._files.remove_file(file.workspace_id, file.id)
            return file

        def answer(file: StoredFile) -> None:
            call.reply(200, JSON, orjson.dumps({"id": file.id, "object": "file", "deleted": True}))

        self._later(call, step, answer)

    def find(self, call: Call, file_id: str) -> StoredFile:
        """A file that the caller may see; raises NotFound. Blocks on the disk."""
        file = self._files.file(call.grant.workspace_id, file_id)
        if file is None or not visible(call.grant, file) or (file.expires_ns and file.expires_ns <= self._clock.time_ns()):
            raise NotFound(f"There is no file {file_id[:64]!r}; it may have been deleted, or its time is over.")
        return file

    async def _send(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        file = await loop.run_in_executor(self._threads, self.find, call, call.params["id"])
        opened = await loop.run_in_executor(self._threads, self._files.data(file.workspace_id, file.id).open, "rb")
        with opened:
            call.start(_CONTENT, stream_error)
            while call.exchange.aborted is None and (piece := await loop.run_in_executor(self._threads, opened.read, _PIECE)):
                call.send(piece)
                await call.exchange.drain()
        call.finish()

    def _later(self, call: Call, step: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        later(call, self._threads, step, answer)


def _text(fields: dict[str, Field], name: str) -> str:
    return fields[name].value.decode("utf-8", errors="replace") if name in fields else ""


def _expiry_s(fields: dict[str, Field]) -> int:
    """Seconds until an upload may go; raises InvalidRequest."""
    written = _text(fields, "expires_after[seconds]")
    if not written:
        return LONGEST_EXPIRY_S
    if not written.isdecimal() or not _SHORTEST_EXPIRY_S <= int(written) <= LONGEST_EXPIRY_S:
        raise InvalidRequest(f"expires_after.seconds is {written[:16]!r}; it must lie between {_SHORTEST_EXPIRY_S} and {LONGEST_EXPIRY_S}.")
    return int(written)

"""Bodies that go to the blob store as they arrive, never whole in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from anyio import from_thread
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from modelyard.control.services import Services
from modelyard.core.errors import InvalidRequest, TooLarge
from modelyard.store.blobs import Blob

PIECE = 1 << 20


async def receive(request: Request, services: Services) -> Blob:
    """Stores the body of a request; nothing stays behind when the caller breaks off.

    Raises TooLarge, before the body is read where its length was said.
    """
    limit = services.max_upload_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"The file has {declared} bytes, over the limit of {limit}; raise MODELYARD_MAX_UPLOAD_BYTES at the server.")
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidRequest("Send the file itself as the body, not a form: with curl use --data-binary @FILE.")
    stream = request.stream()

    def pieces() -> Iterator[bytes]:
        while piece := from_thread.run(_gathered, stream):
            yield piece

    def put() -> Blob:
        return services.blobs.put(pieces(), limit=limit)

    return await run_in_threadpool(put)


async def _gathered(stream: AsyncIterator[bytes]) -> bytes:
    """The next piece of a body, joined to a size that is worth the way to another thread; empty at its end."""
    gathered = bytearray()
    async for chunk in stream:
        gathered += chunk
        if len(gathered) >= PIECE:
            break
    return bytes(gathered)

"""Sends requests: authentication, retries, streaming, and errors as those of core. It does not know any resource."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, TypeVar

import httpx
import msgspec

from modelyard.core.errors import Internal
from modelyard.sdk.async_sockets import AsyncSockets
from modelyard.sdk.failures import error_from, retry_after, unreachable
from modelyard.sdk.settings import ClientSettings
from modelyard.sdk.trust import shown, tls
from modelyard.sdk.waiting import async_call, async_sleep

T = TypeVar("T")
PIECE = 1 << 20
"""Bytes of an upload or download handled at once."""
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
LONGEST_WAIT = 10.0
"""Seconds: a longer Retry-After is handed to the caller instead of being slept through."""
OnBytes = Callable[[int], None]
"""Called with how many bytes went over the wire so far."""


class AsyncTransport:
    """One connection pool to one platform. Safe to use from many tasks at once."""

    def __init__(self, settings: ClientSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.settings = settings
        headers = {"user-agent": "modelyard-python"}
        if settings.key:
            headers["authorization"] = f"Bearer {settings.key}"
        if settings.workspace:
            headers["x-modelyard-workspace"] = settings.workspace
        transport = transport or AsyncSockets(tls())
        self._http = httpx.AsyncClient(headers=headers, timeout=settings.timeout, transport=transport, follow_redirects=False)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def fetch(self, kind: type[T] | Any, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None) -> T:
        """Calls the management API and decodes its answer as ``kind``."""
        content = None if json is None else msgspec.json.encode(json)
        headers = {"content-type": "application/json"} if content is not None else {}
        response = await self.request(method, self.settings.url + path, content=content, params=params, headers=headers)
        try:
            return msgspec.json.decode(response.content or b"null", type=kind)
        except msgspec.MsgspecError as error:
            raise Internal(
                f"The answer of {method} {path} is not what this client expects ({error}); are client and server of the same version?"
            ) from error

    async def request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> httpx.Response:
        """One call; tried again after a broken connection or a 503 when repeating it cannot do harm.

        Raises the error of core that the answer means.
        """
        attempts = 1 + (self.settings.retries if repeatable or method in IDEMPOTENT else 0)
        for attempt in range(1, attempts + 1):
            try:
                response = await self._http.request(method, url, content=content, params=_set(params), headers=headers)
            except httpx.TransportError as error:
                if attempt == attempts or isinstance(error, httpx.ReadTimeout | httpx.UnsupportedProtocol):
                    raise unreachable(shown(self.settings.url), error) from error
                await async_sleep(pause_before(attempt, None))
                continue
            if response.status_code == 503 and attempt < attempts:
                wait = pause_before(attempt, retry_after(response.headers))
                if wait <= LONGEST_WAIT:
                    await async_sleep(wait)
                    continue
            if response.status_code >= 400:
                raise error_from(response.status_code, response.headers, response.content)
            return response
        raise Internal("A call was neither answered nor refused.")  # pragma: no cover - the last attempt returns or raises

    async def send_piece(self, kind: type[T] | Any, path: str, piece: bytes, params: Mapping[str, Any]) -> T:
        """Sends a piece of a file that says where it belongs. Not tried again: ask first what has arrived."""
        headers = {"content-type": "application/octet-stream"}
        response = await self.request("PATCH", self.settings.url + path, content=piece, params=params, headers=headers)
        return msgspec.json.decode(response.content, type=kind)

    async def upload(
        self,
        kind: type[T] | Any,
        method: str,
        path: str,
        file: BinaryIO,
        *,
        params: Mapping[str, Any] | None = None,
        on_bytes: OnBytes | None = None,
    ) -> T:
        """Streams ``file`` from where it stands as the body of one call and decodes the answer. Not tried again: the caller may rewind."""
        size = await async_call(_remaining, file)
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        try:
            response = await self._http.request(
                method, self.settings.url + path, content=_pieces(file, on_bytes), params=_set(params), headers=headers
            )
        except httpx.TransportError as error:
            raise unreachable(shown(self.settings.url), error) from error
        if response.status_code >= 400:
            raise error_from(response.status_code, response.headers, response.content)
        return msgspec.json.decode(response.content, type=kind)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of an answer in pieces, as it arrives."""
        limit = httpx.Timeout(self.settings.timeout, read=timeout or self.settings.timeout)
        try:
            async with self._http.stream(method, self.settings.url + path, params=_set(params), timeout=limit) as response:
                if response.status_code >= 400:
                    raise error_from(response.status_code, response.headers, await response.aread())
                yield response.aiter_bytes(PIECE)
        except httpx.TransportError as error:
            raise unreachable(shown(self.settings.url), error) from error

    @asynccontextmanager
    async def posted(self, url: str, content: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer to a POST, each piece at once when it arrives. Not tried again."""
        headers = {"content-type": "application/json"}
        try:
            async with self._http.stream("POST", url, content=content, headers=headers) as response:
                if response.status_code >= 400:
                    raise error_from(response.status_code, response.headers, await response.aread())
                yield response.aiter_bytes()
        except httpx.TransportError as error:
            raise unreachable(shown(self.settings.url), error) from error

    async def download(
        self,
        path: str,
        to: BinaryIO,
        *,
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        on_bytes: OnBytes | None = None,
    ) -> int:
        """Writes the body of an answer to ``to``; how many bytes it had."""
        done = 0
        async with self.stream(method, path, params=params, timeout=timeout) as pieces:
            async for piece in pieces:
                await async_call(to.write, piece)
                done += len(piece)
                if on_bytes is not None:
                    on_bytes(done)
        return done


async def _pieces(file: BinaryIO, on_bytes: OnBytes | None) -> AsyncIterator[bytes]:
    done = 0
    while piece := await async_call(file.read, PIECE):
        yield piece
        done += len(piece)
        if on_bytes is not None:
            on_bytes(done)


def _remaining(file: BinaryIO) -> int:
    """Bytes from where the file stands to its end: said up front, so that a server can refuse before they are sent."""
    at = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(at)
    return end - at


def _set(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Only the parameters that have a value; an empty string is the same as none."""
    return {name: value for name, value in (params or {}).items() if value is not None and value != ""}


def pause_before(attempt: int, asked: float | None) -> float:
    """Seconds to wait before the next attempt: what the server asked for, otherwise growing with jitter so that clients spread."""
    if asked is not None:
        return asked
    return float(min(2.0, 0.1 * 2 ** (attempt - 1)) * (0.5 + random.random()))  # noqa: S311 - jitter, not a secret

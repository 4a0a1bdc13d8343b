"""A model that somebody else serves, over an OpenAI-compatible or Open Inference endpoint: to the platform a model like any other.

Its calls are governed, metered and logged as all are. An endpoint that fails is tried again with growing pauses within a budget, then the
next one in the list is; one that fails in a row is left alone for a while. Once something of an answer was given, nothing is tried
again. Keys are opened here, sent to the host that they were sealed for, and written nowhere.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import msgspec
import numpy as np
import uvloop
from aiohttp.http_exceptions import HttpProcessingError

from modelyard.core.errors import DeadlineExceeded, Internal, InvalidArtifact, InvalidRequest, ModelyardError, Unavailable
from modelyard.core.generation import Cancel, Emit, FinishReason, GenerateRequest, TokenChunk
from modelyard.core.signature import Signature
from modelyard.core.tensors import NUMPY, Array, Datatype
from modelyard.core.unreadable import UNREADABLE
from modelyard.runtimes.base import TEXT_SIGNATURE, GenerativeModel, LoadedModel, LoadOptions, Runtime
from modelyard.runtimes.remote_openai import StreamReader, request_of
from modelyard.runtimes.remote_settings import Endpoint, RemoteSettings, parse_settings
from modelyard.runtimes.upstream import Breaker, Upstream, backoff

logger = logging.getLogger(__name__)
T = TypeVar("T")
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTEXT = 1 << 24
"""How much an endpoint takes is its own to say."""
_BUFFER = 1 << 20
"""Bytes of an answer that wait to be read before the endpoint is held up; a line of a stream has twice as many at most."""
_REST_S = 0.05
"""So long is the end of an answer waited for that has said it is whole: the connection serves the next call then."""


class Failed(Exception):
    """An attempt that another one may do better than."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.why, self.after = why, after


class Caller:
    """Calls endpoints from an event loop in a thread of its own."""

    def __init__(self, settings: RemoteSettings, keys: tuple[str, ...]) -> None:
        self.settings = settings
        self._keys, self._proxies = keys, tuple(proxy_of(endpoint.url) for endpoint in settings.endpoints)
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="remote", daemon=True)
        self._thread.start()
        breakers = [Breaker(settings.breaker_failures, settings.breaker_seconds) for _ in settings.endpoints]
        self._upstream = Upstream(breakers, settings.retry_budget, time.monotonic)
        self._client = asyncio.run_coroutine_threadsafe(self._open(), self.loop).result(60)
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    async def through(self, once: Callable[[Endpoint], Awaitable[T]], given: Callable[[], bool]) -> T:
        """What ``once`` gives at the first endpoint that does not fail, while nothing was ``given`` to the caller yet.

        Raises Unavailable when none answers; whatever else ``once`` raises ends the call.
        """
        self._upstream.called()
        why = "every one is left alone for a while after failing"
        for attempt, at in enumerate(self._upstream.order()):
            breaker, after = self._upstream.breakers[at], None
            try:
                found = await once(self.settings.endpoints[at])
                breaker.succeeded()
                return found
            except Failed as error:
                breaker.failed(time.monotonic())
                why, after = error.why, error.after
                logger.warning("Endpoint %s failed: %s", self.settings.endpoints[at].origin, why)
            finally:
                breaker.trying = False  # whatever became of it: a call that its caller ended proves nothing
            if given() or attempt >= self.settings.retries or not self._upstream.may_retry():
                break
            await asyncio.sleep(backoff(attempt, after))
        raise Unavailable(f"The endpoint that serves this model cannot be used: {why}; try again shortly.", retry_after=2.0)

    @asynccontextmanager
    async def asked(self, endpoint: Endpoint, path: str, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer, its body still to be read; raises Failed, or InvalidRequest for what the endpoint says is wrong."""
        at = self.settings.endpoints.index(endpoint)
        key, proxy = self._keys[at], self._proxies[at]
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        try:
            url, content = endpoint.url.rstrip("/") + path, msgspec.json.encode(body)
            # Large ones are sent in pieces, between which other calls go on.
            data = content if len(content) < _BUFFER else io.BytesIO(content)
            async with self._client.post(url, data=data, headers=headers, proxy=proxy, allow_redirects=False) as reply:
                if reply.status != 200:
                    raise _refused(reply, await reply.read())
                yield reply
        except aiohttp.ClientError as error:
            raise Failed(f"{type(error).__name__} while it was called") from None

    def start(self, work: Coroutine[Any, Any, None]) -> Cancel:
        """Begins work on the loop; what is returned cancels it, from any thread."""
        made: list[asyncio.Task[None]] = []

        def begin() -> None:
            task = self.loop.create_task(work)
            made.append(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            if not self.closed:
                # A step later than it was made, so that it has begun and says how it ended.
                self.loop.call_soon_threadsafe(lambda: self.loop.call_soon(made[0].cancel))

        self.loop.call_soon_threadsafe(begin)
        return cancel

    async def _open(self) -> aiohttp.ClientSession:
        """The client, made on the loop that it belongs to. Certificates are those that the environment names."""
        settings = self.settings
        guarded = any(endpoint.url.startswith("https:") for endpoint in settings.endpoints)
        connector = aiohttp.TCPConnector(limit=settings.concurrency, ssl=httpx.create_ssl_context() if guarded else True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_seconds, sock_read=settings.timeout_seconds)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=_BUFFER)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()


class RemoteTextModel(GenerativeModel):
    """A language model behind OpenAI's protocol."""

    signature = TEXT_SIGNATURE
    context_length = _CONTEXT
    has_template = True
    tried = False

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.concurrency = caller.settings.concurrency

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        if self._caller.closed:
            emit(Unavailable("This version was unloaded; try again."))
            return lambda: None
        return self._caller.start(self._generate(request, emit))

    def close(self) -> None:
        self._caller.close()

    async def _generate(self, request: GenerateRequest, emit: Emit) -> None:
        began_ns = time.monotonic_ns()
        given = 0

        async def once(endpoint: Endpoint) -> TokenChunk:
            nonlocal given
            path, body = request_of(request, endpoint.model)
            reader = StreamReader(request.n)
            async with self._caller.asked(endpoint, path, body) as reply:
                async for line in reply.content:
                    for chunk in reader.line(line):
                        given += 1
                        emit(chunk)
                    if reader.done:
                        break
                await _read_rest(reply)
            if not reader.whole:
                raise Failed("its answer was cut off")
            return reader.last((time.monotonic_ns() - began_ns) // 1000)

        emit(await self._ending(request, once, lambda: given > 0))

    async def _ending(
        self, request: GenerateRequest, once: Callable[[Endpoint], Awaitable[TokenChunk]], given: Callable[[], bool]
    ) -> TokenChunk | ModelyardError:
        left = (request.deadline_ns - time.monotonic_ns()) / 1e9 if request.deadline_ns else None
        try:
            async with asyncio.timeout(left):
                return await self._caller.through(once, given)
        except ModelyardError as error:
            return error
        except (*UNREADABLE, HttpProcessingError):  # the latter for a line without an end
            logger.warning("An endpoint's stream cannot be read")
            return Internal("The endpoint that serves this model answered something that cannot be read.")
        except TimeoutError:
            return DeadlineExceeded("The call's time ran out while its answer was generated; allow it longer.")
        except asyncio.CancelledError:
            if self._caller.closed:
                return Unavailable("This version was unloaded; try again.")
            return TokenChunk(finish=FinishReason.CANCELLED, last=True)


class RemoteTensorModel(LoadedModel):
    """A model behind the Open Inference Protocol."""

    joins = False
    tried = False

    def __init__(self, caller: Caller, signature: Signature) -> None:
        self._caller, self.signature = caller, signature
        self.concurrency = caller.settings.concurrency

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        if self._caller.closed:
            raise Unavailable("This version was unloaded; try again.")
        return asyncio.run_coroutine_threadsafe(self._infer(inputs), self._caller.loop).result()

    def close(self) -> None:
        self._caller.close()

    async def _infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        datatypes = {spec.name: spec.datatype for spec in self.signature.inputs}
        tensors = [
            {"name": name, "datatype": datatypes[name].value, "shape": list(array.shape), "data": _flat(array)}
            for name, array in inputs.items()
        ]

        async def once(endpoint: Endpoint) -> dict[str, Array]:
            async with self._caller.asked(endpoint, f"/v2/models/{endpoint.model}/infer", {"inputs": tensors}) as reply:
                return self._outputs(await reply.read())

        return await self._caller.through(once, lambda: False)

    def _outputs(self, content: bytes) -> dict[str, Array]:
        try:
            told = {item["name"]: item for item in msgspec.json.decode(content)["outputs"]}
            return {spec.name: _array(told[spec.name]["data"], told[spec.name]["shape"], spec.datatype) for spec in self.signature.outputs}
        except (*UNREADABLE, KeyError, TypeError, ValueError):
            raise Internal("The endpoint that serves this model answered something that does not fit its signature.") from None


class RemoteRuntime(Runtime):
    """Loads ``remote.json``; see ``remote_settings``."""

    name = "remote"

    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:
        path = folder / entry
        if not path.is_file():
            raise InvalidArtifact(f"The file {entry!r} is missing from the artifact.")
        settings = parse_settings(path.read_bytes(), entry)
        caller = Caller(settings, tuple(_key(endpoint, options) for endpoint in settings.endpoints))
        if settings.signature is not None and settings.protocol == "open_inference":
            return RemoteTensorModel(caller, settings.signature)
        return RemoteTextModel(caller)


RUNTIME = RemoteRuntime()


def proxy_of(url: str) -> str | None:
    """The proxy that the environment (``HTTPS_PROXY``, ``NO_PROXY`` and the like) names for an address."""
    parts, named = urlsplit(url), getproxies()
    return None if proxy_bypass(parts.netloc) else named.get(parts.scheme) or named.get("all")


def _key(endpoint: Endpoint, options: LoadOptions) -> str:
    if not endpoint.sealed_key or options.unseal is None:
        return ""  # the trial at push has no network, and needs no key
    try:
        return options.unseal(endpoint.sealed_key, endpoint.origin)
    except InvalidRequest as error:
        raise InvalidArtifact(f"The key for {endpoint.origin} cannot be used: {error.message}") from None


async def _read_rest(reply: aiohttp.ClientResponse) -> None:
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_REST_S):
            await reply.content.read()


def _refused(reply: aiohttp.ClientResponse, content: bytes) -> Exception:
    """What an answer other than 200 means."""
    if reply.status in {400, 413, 422}:
        return InvalidRequest(f"The endpoint that serves this model refused the call: {_told(content)}")
    after = reply.headers.get("retry-after", "")
    seconds = float(after) if after.replace(".", "", 1).isdigit() else None
    if reply.status in {401, 403}:
        return Failed("it refuses the platform's key")
    return Failed(f"it answered {reply.status}", seconds if reply.status in _PASSING else None)


def _told(content: bytes) -> str:
    """The sentence in an error's body."""
    try:
        error = msgspec.json.decode(content)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (*UNREADABLE, KeyError, TypeError):
        return "it gave no reason."
    return " ".join(str(text).split())[:300]


def _flat(array: Array) -> list[Any]:
    return [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]


def _array(data: list[Any], shape: list[int], datatype: Datatype) -> Array:
    made = np.empty(len(data), object) if datatype is Datatype.BYTES else np.asarray(data, NUMPY[datatype])
    if datatype is Datatype.BYTES:
        made[:] = data
    return made.reshape(shape)

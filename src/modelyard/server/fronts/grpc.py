"""The gRPC front: each call is an exchange whose path is the method and whose body is the message, as on the wire.

It knows calls, streams, metadata and deadlines; messages are bytes to it, so any service can be carried. In a stream each message
of the client is an exchange of its own, answered in order. An answer with a ``grpc-status`` header is an error; any other is the
message.

``grpc.aio`` runs on the worker's event loop. A threaded server that hands each call over to the loop was measured beside it
(``benchmarks/grpc/servers.py``): level in rate, 15 % more CPU time a call, and a thread for every call under way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

import grpc
from grpc import aio

from modelyard.core.errors import Conflict
from modelyard.core.exchange import Abort, Exchange, Handler, Headers

IN_FLIGHT = 32
"""Requests of one stream that are computed at the same time."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_OWN = frozenset({"accept-encoding", "content-encoding", "grpc-timeout"})
"""Metadata that would mean HTTP's content coding, or that stands for what gRPC says itself."""
_TRAILING = frozenset({b"x-request-id", b"retry-after"})
_TIMED_OUT: Headers = ((b"grpc-status", b"4"), (b"grpc-message", b"The call took longer than the server allows."))

Answer = tuple[Headers, bytes]


@dataclass(frozen=True, kw_only=True)
class GrpcConfig:
    """Limits of the front."""

    address: str
    """``host:port``, which every worker binds; the kernel spreads connections over them."""
    max_message_bytes: int = 64 << 20
    max_head_bytes: int = 32 << 10
    max_calls: int = 4096
    """Calls at the same time; more are refused."""
    idle_timeout_s: float = 300.0
    call_timeout_s: float = 60.0
    """Longest time that the answer to one message may take."""


class Context(Protocol):
    """What the front uses of ``grpc.aio.ServicerContext``."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]: ...
    def time_remaining(self) -> float | None: ...
    def peer(self) -> str: ...
    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None: ...
    async def abort(self, code: Any, details: str, trailing_metadata: tuple[tuple[str, str], ...]) -> None: ...


class GrpcExchange(Exchange):
    """See ``Exchange``. Pieces of an answer become one message."""

    __slots__ = ("_begun", "_pieces", "_waiter", "answer")

    def __init__(self, path: str, body: bytes, headers: dict[bytes, bytes], peer: str) -> None:
        self.method, self.path, self.query, self.headers, self.body = "POST", path, "", headers, body
        self.peer, self.secure, self.received_ns = peer, False, time.monotonic_ns()
        self.aborted: Abort | None = None
        self.on_abort: Callable[[Abort], None] | None = None
        self.answer: Answer | None = None
        self._begun: tuple[int, Headers] | None = None
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None

    def respond(self, status: int, headers: Headers, body: bytes | Sequence[bytes | memoryview]) -> None:  # noqa: ARG002  # gRPC's own is among the headers
        if self.aborted is not None:
            return
        if self.answer is not None:
            raise RuntimeError("This call has been answered already.")
        self.answer = headers, body if isinstance(body, bytes) else b"".join(body)
        self._wake()

    def start(self, status: int, headers: Headers) -> None:
        if self._begun is not None or self.answer is not None:
            raise RuntimeError("This call has been answered already.")
        self._begun = status, headers

    def send(self, chunk: bytes) -> None:
        if self.aborted is None:
            if self._begun is None or self.answer is not None:
                raise RuntimeError("A piece of an answer that is not begun, or is finished already.")
            self._pieces.append(chunk)

    async def drain(self) -> None:
        """Does not wait: pieces are kept until the message is whole."""

    def finish(self) -> None:
        if self.aborted is None:
            if self._begun is None:
                raise RuntimeError("The end of an answer that is not begun, or is finished already.")
            self.respond(*self._begun, self._pieces)

    async def answered(self, timeout_s: float) -> Answer:
        """The answer, when it is there. When the caller goes away or time runs out first, whoever computes is told. For the front."""
        if self.answer is None:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout_s, self._abort, Abort.TIMED_OUT)
            try:
                await self._waiter
            except asyncio.CancelledError:
                self._abort(Abort.DISCONNECTED)
                raise
            finally:
                timer.cancel()
        return self.answer or (_TIMED_OUT, b"")

    def _abort(self, reason: Abort) -> None:
        self.aborted = reason
        callback, self.on_abort = self.on_abort, None
        if callback is not None:
            callback(reason)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class GrpcFront:
    """Carries ``handler`` over gRPC for the methods in ``paths``; those in ``streams`` take and give streams of messages.

    Everything runs on the loop on which ``start`` is called. To end: ``drain``.
    """

    def __init__(self, handler: Handler, paths: Iterable[str], streams: Iterable[str], config: GrpcConfig) -> None:
        self._handler = handler
        self._config = config
        methods = {path: grpc.unary_unary_rpc_method_handler(self._unary(path)) for path in paths}
        methods |= {path: grpc.stream_stream_rpc_method_handler(self._stream(path)) for path in streams}
        self._methods = methods
        self._server: Any = None

    async def start(self) -> int:
        """Listens; the port.

        Raises Conflict when the address cannot be bound.
        """
        config = self._config
        options = (
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", config.max_head_bytes),
            ("grpc.max_connection_idle_ms", int(config.idle_timeout_s * 1000)),
        )
        self._server = aio.server(options=options, maximum_concurrent_rpcs=config.max_calls)
        self._server.add_generic_rpc_handlers((_Methods(self._methods),))
        try:
            port = int(self._server.add_insecure_port(config.address))
        except RuntimeError:
            port = 0
        if not port:
            raise Conflict(f"{config.address} cannot be listened on for gRPC; set MODELYARD_GRPC_PORT to another port.")
        await self._server.start()
        return port

    async def drain(self, timeout_s: float) -> None:
        """Takes no new calls, lets those under way end, and cuts off what is left after ``timeout_s``."""
        if self._server is not None:
            await self._server.stop(timeout_s)

    def _unary(self, path: str) -> Callable[[bytes, Context], Any]:
        async def run(body: bytes, context: Context) -> bytes:
            headers, timeout = _read(context, self._config.call_timeout_s)
            exchange = GrpcExchange(path, body, headers, _host(context.peer()))
            self._handler(exchange)
            given, message = exchange.answer or await exchange.answered(timeout)
            code, details, trailing = _status(given)
            if code:
                await context.abort(_CODES[code], details, trailing)
            context.set_trailing_metadata(trailing)
            return message

        return run

    def _stream(self, path: str) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]:
        async def ask(body: bytes, headers: dict[bytes, bytes], peer: str) -> Answer:
            exchange = GrpcExchange(path, body, headers, peer)
            self._handler(exchange)
            return await exchange.answered(self._config.call_timeout_s)

        async def run(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            headers, _ = _read(context, self._config.call_timeout_s)
            headers.pop(b"grpc-timeout", None)  # it is the stream's, and gRPC ends that itself
            peer = _host(context.peer())
            room = asyncio.Semaphore(IN_FLIGHT)
            asked: asyncio.Queue[asyncio.Task[Answer] | None] = asyncio.Queue()

            async def read() -> None:
                try:
                    async for body in requests:
                        await room.acquire()
                        asked.put_nowait(asyncio.create_task(ask(body, headers, peer)))
                finally:
                    asked.put_nowait(None)

            reader = asyncio.create_task(read())
            task: asyncio.Task[Answer] | None = None
            try:
                while (task := await asked.get()) is not None:
                    given, message = await task
                    code, details, trailing = _status(given)
                    if code:
                        await context.abort(_CODES[code], details, trailing)
                    yield message
                    room.release()
            finally:
                left = [reader, *([task] if task else []), *_drained(asked)]
                for one in left:
                    one.cancel()
                await asyncio.gather(*left, return_exceptions=True)

        return run


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    def __init__(self, methods: dict[str, Any]) -> None:
        self._methods = methods

    def service(self, handler_call_details: Any) -> Any:
        return self._methods.get(handler_call_details.method)


def _drained(queue: asyncio.Queue[asyncio.Task[Answer] | None]) -> list[asyncio.Task[Answer]]:
    found = []
    while not queue.empty():
        task = queue.get_nowait()
        if task is not None:
            found.append(task)
    return found


def _read(context: Context, longest_s: float) -> tuple[dict[bytes, bytes], float]:
    """Metadata as headers, with ``grpc-timeout`` as on the wire where the client gave a deadline; and how long to wait."""
    headers: dict[bytes, bytes] = {}
    for name, value in context.invocation_metadata():
        if isinstance(value, bytes) or name in _OWN:
            continue
        key, text = name.encode(), value.encode("latin-1", "replace")
        headers[key] = headers[key] + b", " + text if key in headers else text
    remaining = context.time_remaining()
    if remaining is None or remaining > 1e6:
        return headers, longest_s
    headers[b"grpc-timeout"] = b"%du" % max(1, int(remaining * 1e6))
    return headers, min(longest_s, remaining)


def _status(headers: Headers) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    """Status code, message and trailing metadata of an answer."""
    code, details = 0, ""
    trailing: tuple[tuple[str, str], ...] = ()
    for name, value in headers:
        if name in _TRAILING:
            trailing = (*trailing, (name.decode(), value.decode("latin-1")))
        elif name == b"grpc-status":
            code = int(value)
        elif name == b"grpc-message":
            details = unquote(value.decode())
    return code, details, trailing


def _host(peer: str) -> str:
    """``ipv4:10.0.0.1:1234`` and ``ipv6:%5B::1%5D:1234`` without what is not the address; ``unix`` for a Unix socket."""
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return "unix"
    return unquote(rest).rpartition(":")[0].strip("[]")

"""The gRPC front: each call is an exchange whose path is the method and whose body is the message, as on the wire.

It knows calls, metadata and deadlines; messages are bytes to it, so any service can be carried. An answer with a ``grpc-status``
header is an error; any other is the message. Streams of messages are in ``grpc_streams``.

grpc's threaded server hands each call over to the event loop, and its thread waits for the answer. ``grpc.aio`` on the loop itself
was measured beside it (``benchmarks/grpc/servers.py``, one row, 32 calls in flight, uvloop): it answered 0.55 to 0.8 times as many calls,
at 1.2 to 1.6 times the CPU time each. Only when other programs kept both cores busy were they level.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from modelyard.core.access import Certificate
from modelyard.core.errors import Conflict
from modelyard.core.exchange import Abort, Exchange, Fields, Handler, Headers
from modelyard.server.entrance import OPEN, Entrance
from modelyard.server.fronts.grpc_callers import Caller, introduce, listen
from modelyard.server.fronts.grpc_calls import IDLE, TIMED_OUT, TOO_MANY, Answer, Context, conclude, read_metadata
from modelyard.server.fronts.grpc_streams import Conversation


@dataclass(frozen=True, kw_only=True)
class GrpcConfig:
    """Limits of the front."""

    address: str
    """``host:port``, which every worker binds; the kernel spreads connections over them."""
    entrance: Entrance = OPEN
    max_message_bytes: int = 64 << 20
    max_head_bytes: int = 32 << 10
    max_calls: int = 512
    """Calls at the same time, each of which holds a thread; more are refused."""
    max_streams: int = 128
    """How many of them may be streams."""
    idle_timeout_s: float = 300.0
    """How long a connection without calls is kept, and a stream without messages."""
    call_timeout_s: float = 60.0
    """Longest time that the answer to one message may take."""


class GrpcExchange(Exchange):
    """See ``Exchange``. Pieces of an answer become one message. The handler answers on the loop; a thread of gRPC's waits."""

    __slots__ = ("_begun", "_caller", "_loop", "_pieces", "_ready", "_woken", "answer")

    def __init__(self, path: str, body: bytes, headers: dict[bytes, bytes], caller: Caller, loop: asyncio.AbstractEventLoop) -> None:
        self.method, self.path, self.query, self.headers, self.body = "POST", path, "", headers, body
        self.peer, self.secure, self.received_ns = caller.peer, caller.secure, time.monotonic_ns()
        self._caller = caller
        self.aborted: Abort | None = None
        self.on_abort: Callable[[Abort], None] | None = None
        self.answer: Answer | None = None
        self._begun: tuple[int, Headers] | None = None
        self._pieces: list[bytes] = []
        self._loop = loop
        self._woken = False
        self._ready = threading.Lock()
        self._ready.acquire()  # released by the answer; a lock is the quickest way to wait for one event

    @property
    def certificate(self) -> Certificate | None:
        return self._caller.certificate

    def respond(  # as the seam
        self,
        status: int,  # noqa: ARG002  # gRPC's own is among the headers
        headers: Headers,
        body: bytes | Sequence[bytes | memoryview],
        own: Fields = (),
        more: Fields = (),
    ) -> None:
        if self.aborted is not None:
            return
        if self.answer is not None:
            raise RuntimeError("This call has been answered already.")
        self.answer = [*headers, *own, *more], body if isinstance(body, bytes) else b"".join(body)
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

    def wait(self, timeout_s: float) -> Answer | None:
        """The answer; None when the caller went away meanwhile. When time runs out, whoever computes is told. For gRPC's threads."""
        if not self._ready.acquire(timeout=max(0.0, timeout_s)):
            self.abort(Abort.TIMED_OUT)
            return TIMED_OUT
        return self.answer

    def abort(self, reason: Abort) -> None:
        """Tells whoever computes that nobody waits; later answers are dropped. From any thread."""
        with suppress(RuntimeError):  # the loop is closed: nothing computes any more
            self._loop.call_soon_threadsafe(self._abort, reason)

    def _abort(self, reason: Abort) -> None:
        if self.answer is None and self.aborted is None:
            self.aborted = reason
            callback, self.on_abort = self.on_abort, None
            if callback is not None:
                callback(reason)
            self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._ready.release()


class GrpcFront:
    """Carries ``handler`` over gRPC for the methods in ``paths``; those in ``streams`` take and give streams of messages.

    The handler is called on the loop on which ``start`` is. To end: ``drain``.
    """

    def __init__(self, handler: Handler, paths: Iterable[str], streams: Iterable[str], config: GrpcConfig) -> None:
        self._handler = handler
        self._config = config
        self._meet = introduce(config.entrance)
        self._stream_room = threading.Semaphore(config.max_streams)
        self._methods = {path: grpc.unary_unary_rpc_method_handler(self._unary(path)) for path in paths}
        self._methods |= {path: grpc.stream_stream_rpc_method_handler(self._stream(path)) for path in streams}
        self._threads = ThreadPoolExecutor(config.max_calls, thread_name_prefix="grpc")
        self._server: Any = None
        self._loop: asyncio.AbstractEventLoop

    async def start(self) -> int:
        """Listens; the port.

        Raises Conflict when the address cannot be bound.
        """
        config, self._loop = self._config, asyncio.get_running_loop()
        options = (
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", config.max_head_bytes),
            ("grpc.max_connection_idle_ms", int(config.idle_timeout_s * 1000)),
        )
        server = grpc.server(self._threads, options=options, maximum_concurrent_rpcs=config.max_calls)
        server.add_generic_rpc_handlers((_Methods(self._methods),))
        try:
            port = listen(server, config.address, config.entrance.certificates)
        except RuntimeError:
            port = 0
        if not port:
            raise Conflict(f"{config.address} cannot be listened on for gRPC; set MODELYARD_GRPC_PORT to another port.")
        server.start()
        self._server = server
        return port

    async def drain(self, timeout_s: float) -> None:
        """Takes no new calls, lets those under way end, and cuts off what is left after ``timeout_s``."""
        if self._server is not None:
            ended: threading.Event = self._server.stop(timeout_s)
            await self._loop.run_in_executor(None, ended.wait)
        self._threads.shutdown(wait=False)

    def _hand_over(self, path: str, body: bytes, headers: dict[bytes, bytes], caller: Caller) -> GrpcExchange:
        exchange = GrpcExchange(path, body, headers, caller, self._loop)
        self._loop.call_soon_threadsafe(self._handler, exchange)
        return exchange

    def _unary(self, path: str) -> Callable[[bytes, Context], bytes]:
        def run(body: bytes, context: Context) -> bytes:
            headers, timeout = read_metadata(context, self._config.call_timeout_s)
            exchange = self._hand_over(path, body, headers, self._meet(context, headers))
            if not context.add_callback(lambda: exchange.abort(Abort.DISCONNECTED) if exchange.answer is None else None):
                exchange.abort(Abort.DISCONNECTED)
            answer = exchange.wait(timeout)
            return conclude(answer, context) if answer is not None else b""

        return run

    def _stream(self, path: str) -> Callable[[Iterator[bytes], Context], Iterator[bytes]]:
        def run(requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
            headers, _ = read_metadata(context, 0.0)
            headers.pop(b"grpc-timeout", None)  # it is the stream's, and gRPC ends that itself
            caller = self._meet(context, headers)
            conversation = Conversation(lambda body: self._hand_over(path, body, headers, caller), self._config.idle_timeout_s)
            if not self._stream_room.acquire(blocking=False):
                conclude(TOO_MANY, context)
            try:
                for exchange in conversation.exchanges(requests, context.add_callback):
                    answer = exchange.wait(self._config.call_timeout_s)
                    if answer is None:
                        return
                    yield conclude(answer, context)
                if conversation.idle:
                    conclude(IDLE, context)
            finally:
                self._stream_room.release()

        return run


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    def __init__(self, methods: dict[str, Any]) -> None:
        self._methods = methods

    def service(self, handler_call_details: Any) -> Any:
        return self._methods.get(handler_call_details.method)

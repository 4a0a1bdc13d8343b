"""The same handler as an ASGI 3 application: for in-memory tests and for any ASGI host.

The host owns connections, framing, timeouts and keep-alive; this front checks what it can see: the target, and the sizes of head
and body.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote

from modelyard.core.exchange import Abort, Exchange, Fields, Handler, Headers
from modelyard.server.fronts.exchange import Answer
from modelyard.server.fronts.framing import METHODS
from modelyard.server.fronts.limits import FrontConfig, Refused
from modelyard.server.fronts.reply import BODILESS, ReplyEncoder, refusal_body
from modelyard.server.fronts.target import split_target

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiExchange(Exchange):
    """See ``Exchange``. Answers become ASGI messages that the application's coroutine hands to the host."""

    __slots__ = ("_encoder", "_idle", "_more", "_waiting", "answer")

    def __init__(self, method: str, target: tuple[str, str], headers: dict[bytes, bytes], encoder: ReplyEncoder) -> None:
        self.method = method
        self.path, self.query = target
        self.headers = headers
        self.body = b""
        self.peer = "unix"
        self.secure = False
        self.received_ns = 0
        self.aborted: Abort | None = None
        self.on_abort: Callable[[Abort], None] | None = None
        self.answer = Answer.OPEN
        self._encoder = encoder
        self._waiting: list[Message] = []
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def respond(  # on every call's path, where keywords cost time
        self,
        status: int,
        headers: Headers,
        body: bytes | Sequence[bytes | memoryview],
        own: Fields = (),
        more: Fields = (),
    ) -> None:
        if not self._may_begin():
            return
        fields = [*headers, *own, *more]
        self._encoder.head(status, fields)
        whole = body if isinstance(body, bytes) else b"".join(body)
        if status not in BODILESS:
            fields.append((b"content-length", b"%d" % len(whole)))
        self.answer = Answer.DONE
        self._put({"type": "http.response.start", "status": status, "headers": fields})
        self._put({"type": "http.response.body", "body": b"" if self.method == "HEAD" or status in BODILESS else whole})

    def start(self, status: int, headers: Headers) -> None:
        if not self._may_begin():
            return
        self._encoder.head(status, headers)
        self.answer = Answer.STARTED
        self._put({"type": "http.response.start", "status": status, "headers": list(headers)})

    def send(self, chunk: bytes) -> None:
        if self._is_begun() and chunk and self.method != "HEAD":
            self._put({"type": "http.response.body", "body": chunk, "more_body": True})

    async def drain(self) -> None:
        await self._idle.wait()

    def finish(self) -> None:
        if self._is_begun():
            self.answer = Answer.DONE
            self._put({"type": "http.response.body", "body": b""})

    def abort(self, reason: Abort) -> None:
        """Tells whoever computes that nobody waits. Only for the front."""
        self.answer = Answer.ABORTED
        self.aborted = reason
        self._waiting.clear()
        self._more.set()
        self._idle.set()
        callback, self.on_abort = self.on_abort, None
        if callback is not None:
            callback(reason)

    async def deliver(self, send: Send) -> None:
        """Hands messages to the host until the answer is whole or nobody waits for it."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                messages, self._waiting = self._waiting, []
                for message in messages:
                    await send(message)
            self._idle.set()
            if self.answer in {Answer.DONE, Answer.ABORTED}:
                return

    def _put(self, message: Message) -> None:
        self._waiting.append(message)
        self._idle.clear()
        self._more.set()

    def _may_begin(self) -> bool:
        if self.answer in {Answer.STARTED, Answer.DONE}:
            raise RuntimeError("This request has been answered already.")
        return self.answer is Answer.OPEN

    def _is_begun(self) -> bool:
        if self.answer in {Answer.OPEN, Answer.DONE}:
            raise RuntimeError("The answer is not begun, or is finished already.")
        return self.answer is Answer.STARTED


class AsgiFront:
    """An ASGI application around ``handler``. An error that the handler raises is the host's to answer and log."""

    def __init__(self, handler: Handler, config: FrontConfig | None = None) -> None:
        self._handler = handler
        self._config = config or FrontConfig()
        self._encoder = ReplyEncoder()
        self._open: set[AsgiExchange] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            try:
                exchange = await self._read(scope, receive)
            except Refused as refused:
                await _refuse(scope, send, refused)
                return
            if exchange is not None:
                await self._answer(exchange, receive, send)
        else:
            raise RuntimeError(f"Only HTTP is served here, not {scope['type']!r}.")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                for exchange in tuple(self._open):
                    exchange.abort(Abort.DRAINED)
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _read(self, scope: Message, receive: Receive) -> AsgiExchange | None:
        """The whole request; None when the client leaves before."""
        config = self._config
        headers = _headers(scope["headers"], config)
        method = METHODS.get(scope["method"].encode())
        if method is None:
            raise Refused(501, f"The method {scope['method']} is not supported.")
        raw = scope.get("raw_path") or quote(scope["path"], safe="/:@!$&'()*+,;=~-._").encode()
        query = scope.get("query_string", b"")
        target = raw + b"?" + query if query else raw
        if len(target) > config.max_target_bytes:
            raise Refused(414, f"The target is longer than {config.max_target_bytes} bytes.")
        exchange = AsgiExchange(method, split_target(target, method, headers.get(b"host")), headers, self._encoder)
        exchange.peer = scope["client"][0] if scope.get("client") else "unix"
        exchange.secure = scope.get("scheme") == "https"
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > config.max_body_bytes:
                raise Refused(413, f"The body is larger than {config.max_body_bytes} bytes.")
            more = message.get("more_body", False)
        exchange.body = bytes(body)
        exchange.received_ns = time.monotonic_ns()
        return exchange

    async def _answer(self, exchange: AsgiExchange, receive: Receive, send: Send) -> None:
        self._open.add(exchange)
        watch = asyncio.create_task(_watch(exchange, receive))
        try:
            self._handler(exchange)
            await exchange.deliver(send)
        except (asyncio.CancelledError, OSError):
            # The host's ways to say that the client is gone: the task is cancelled, or sending fails.
            if exchange.answer is not Answer.DONE:
                exchange.abort(Abort.DISCONNECTED)
            raise
        finally:
            self._open.discard(exchange)
            watch.cancel()


async def _watch(exchange: AsgiExchange, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if exchange.answer in {Answer.OPEN, Answer.STARTED}:
        exchange.abort(Abort.DISCONNECTED)


def _headers(fields: Iterable[tuple[bytes, bytes]], config: FrontConfig) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    size = count = 0
    for raw, value in fields:
        name = raw.lower()
        size += len(name) + len(value) + 4
        count += 1
        headers[name] = headers[name] + b", " + value if name in headers else value
    if size > config.max_head_bytes or count > config.max_headers:
        raise Refused(431, f"The head of the request is over {config.max_head_bytes} bytes or {config.max_headers} fields.")
    return headers


async def _refuse(scope: Message, send: Send, refused: Refused) -> None:
    body = refusal_body(refused.message)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

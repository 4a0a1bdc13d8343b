"""What every front must do with the exchanges it makes. Subclass ``FrontContract`` in a test module and give it a ``harness``."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from modelyard.core.exchange import Abort, Exchange, Handler

PATIENCE = 20.0
MAX_BODY = 100_000
"""A harness must make its fronts with this body limit."""
_TEXT = ((b"content-type", b"text/plain"),)


class FrontHarness(ABC):
    """How a test reaches one kind of front."""

    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    """The kind of event loop that the front runs on; None for asyncio's own."""

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine on a fresh loop."""
        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            runner.run(main)

    @abstractmethod
    def client(self, handler: Handler) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """A client of a fresh front around ``handler``; the front ends with it."""

    @abstractmethod
    async def leave(self, handler: Handler, called: asyncio.Event) -> None:
        """Sends ``POST /left`` to a fresh front and disconnects once ``called`` is set; returns when the front has noticed."""


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):
        yield


class FrontContract:
    """The contract, as tests; ``harness`` is a fixture of the subclass."""

    def run(self, harness: FrontHarness, handler: Handler, use: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        """Runs ``use`` with a client of a front around ``handler``."""

        async def main() -> None:
            async with _patience(), harness.client(handler) as client:
                await use(client)

        harness.run(main())

    def test_the_handler_sees_the_whole_request(self, harness: FrontHarness) -> None:
        seen: list[Exchange] = []

        def handler(exchange: Exchange) -> None:
            seen.append(exchange)
            exchange.respond(201, _TEXT, b"made")

        async def use(client: httpx.AsyncClient) -> None:
            fields = [("X-One", "1"), ("x-two", "a"), ("X-Two", "b")]
            reply = await client.post("/v2/models/a%2Fb/in%66er?x=%41&y=1", headers=fields, content=b"body")
            assert (reply.status_code, reply.content, reply.headers["content-type"]) == (201, b"made", "text/plain")
            assert reply.headers["content-length"] == "4"

        self.run(harness, handler, use)
        (exchange,) = seen
        assert (exchange.method, exchange.path, exchange.query, exchange.body) == ("POST", "/v2/models/a%2Fb/infer", "x=%41&y=1", b"body")
        assert exchange.headers[b"x-one"] == b"1"
        assert exchange.headers[b"x-two"] == b"a, b"
        assert exchange.peer == "127.0.0.1"
        assert not exchange.secure
        assert exchange.received_ns > 0

    @pytest.mark.parametrize("chunks", [(b"one, ", memoryview(b"two")), (b"", b"one, two"), [b"one, two"]])
    def test_a_sequence_of_chunks_is_one_body(self, harness: FrontHarness, chunks: tuple[bytes | memoryview, ...]) -> None:
        async def use(client: httpx.AsyncClient) -> None:
            reply = await client.get("/")
            assert reply.content == b"one, two"
            assert reply.headers["content-length"] == "8"

        self.run(harness, lambda exchange: exchange.respond(200, _TEXT, chunks), use)

    def test_large_bodies_pass_in_both_directions(self, harness: FrontHarness) -> None:
        body = bytes(range(256)) * 300

        async def use(client: httpx.AsyncClient) -> None:
            reply = await client.post("/", content=body)
            assert reply.content == body * 20

        self.run(harness, lambda exchange: exchange.respond(200, [], [memoryview(exchange.body)] * 20), use)

    def test_a_body_without_a_stated_length_is_read(self, harness: FrontHarness) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"a" * 10, b"b", b"c" * 1000):
                yield piece

        async def use(client: httpx.AsyncClient) -> None:
            reply = await client.post("/", content=pieces())
            assert reply.content == b"a" * 10 + b"b" + b"c" * 1000

        self.run(harness, lambda exchange: exchange.respond(200, [], exchange.body), use)

    def test_an_answer_may_come_later(self, harness: FrontHarness) -> None:
        def handler(exchange: Exchange) -> None:
            asyncio.get_running_loop().call_later(0.01, exchange.respond, 200, _TEXT, b"late")

        async def use(client: httpx.AsyncClient) -> None:
            assert (await client.get("/")).content == b"late"

        self.run(harness, handler, use)

    def test_a_begun_answer_streams_and_drains(self, harness: FrontHarness) -> None:
        tasks: list[asyncio.Task[None]] = []

        async def stream(exchange: Exchange) -> None:
            exchange.start(200, _TEXT)
            for number in range(20):
                exchange.send(b"%d," % number * 1000)
                exchange.send(b"")
                await exchange.drain()
            exchange.finish()

        def handler(exchange: Exchange) -> None:
            tasks.append(asyncio.get_running_loop().create_task(stream(exchange)))

        async def use(client: httpx.AsyncClient) -> None:
            reply = await client.get("/")
            assert reply.content == b"".join(b"%d," % number * 1000 for number in range(20))
            assert "content-length" not in reply.headers

        self.run(harness, handler, use)

    def test_answering_twice_is_an_error(self, harness: FrontHarness) -> None:
        refused: list[str] = []

        def attempt(call: Callable[[], None]) -> None:
            with pytest.raises(RuntimeError) as raised:
                call()
            refused.append(str(raised.value))

        def handler(exchange: Exchange) -> None:
            attempt(exchange.finish)
            attempt(lambda: exchange.send(b"early"))
            if exchange.path == "/whole":
                exchange.respond(200, _TEXT, b"first")
            else:
                exchange.start(200, _TEXT)
                attempt(lambda: exchange.start(200, _TEXT))
                exchange.send(b"first")
                attempt(lambda: exchange.respond(200, _TEXT, b"whole"))
                exchange.finish()
            attempt(lambda: exchange.respond(500, _TEXT, b"second"))
            attempt(lambda: exchange.start(500, _TEXT))
            attempt(lambda: exchange.send(b"more"))
            attempt(exchange.finish)

        async def use(client: httpx.AsyncClient) -> None:
            for path in ("/whole", "/pieces", "/whole"):
                reply = await client.get(path)
                assert (reply.status_code, reply.content) == (200, b"first")

        self.run(harness, handler, use)
        assert len(refused) == 6 + 8 + 6

    def test_head_is_answered_without_a_body(self, harness: FrontHarness) -> None:
        def handler(exchange: Exchange) -> None:
            if exchange.path == "/whole":
                exchange.respond(200, _TEXT, b"12345")
            else:
                exchange.start(200, _TEXT)
                exchange.send(b"12345")
                exchange.finish()

        async def use(client: httpx.AsyncClient) -> None:
            whole = await client.head("/whole")
            assert (whole.content, whole.headers["content-length"]) == (b"", "5")
            pieces = await client.head("/pieces")
            assert (pieces.status_code, pieces.content) == (200, b"")
            assert (await client.get("/whole")).content == b"12345"

        self.run(harness, handler, use)

    def test_statuses_without_a_body_have_none(self, harness: FrontHarness) -> None:
        async def use(client: httpx.AsyncClient) -> None:
            for status in (204, 304, 200):
                reply = await client.get(f"/{status}")
                assert (reply.status_code, reply.content) == (status, b"x" if status == 200 else b"")

        self.run(harness, lambda exchange: exchange.respond(int(exchange.path[1:]), _TEXT, b"x"), use)

    @pytest.mark.parametrize(
        "fields",
        [[(b"x-a", b"1\r\nx-b: 2")], [(b"x-a", b"1\0")], [(b"content-length", b"1")], [(b"connection", b"close")], [(b"X-Upper", b"1")]],
    )
    def test_headers_that_would_break_the_answer_are_errors(self, harness: FrontHarness, fields: list[tuple[bytes, bytes]]) -> None:
        def handler(exchange: Exchange) -> None:
            with pytest.raises(ValueError, match="header"):
                exchange.respond(200, fields, b"")
            with pytest.raises(ValueError, match="header"):
                exchange.start(200, tuple(fields))
            exchange.respond(200, [(b"x-fine", b"1")], b"fine")

        async def use(client: httpx.AsyncClient) -> None:
            reply = await client.get("/")
            assert (reply.content, reply.headers["x-fine"]) == (b"fine", "1")

        self.run(harness, handler, use)

    def test_a_body_over_the_limit_is_refused_before_the_handler(self, harness: FrontHarness) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * (MAX_BODY // 2)

        async def use(client: httpx.AsyncClient) -> None:
            for content in (b"x" * (MAX_BODY + 1), pieces()):
                reply = await client.post("/", content=content)
                assert reply.status_code == 413
                assert str(MAX_BODY) in reply.json()["error"]
            assert (await client.post("/", content=b"x" * MAX_BODY)).status_code == 200

        self.run(harness, lambda exchange: exchange.respond(200, [], b"") if len(exchange.body) <= MAX_BODY else exchange.finish(), use)

    @pytest.mark.parametrize(
        ("target", "status"), [("/a%00b", 400), ("/a/%2e%2e/b", 400), ("/%ff", 400), ("/" + "a" * 9000, 414), ("/a%5cb", 400)]
    )
    def test_a_bad_target_is_refused_before_the_handler(self, harness: FrontHarness, target: str, status: int) -> None:
        async def use(client: httpx.AsyncClient) -> None:
            reply = await client.get(target)
            assert reply.status_code == status
            assert list(reply.json()) == ["error"]

        self.run(harness, lambda exchange: exchange.respond(200, [], b""), use)

    def test_a_client_that_leaves_aborts_its_exchange_once(self, harness: FrontHarness) -> None:
        for begun in (False, True):
            aborts: list[Abort] = []
            seen: list[Exchange] = []

            async def main(begun: bool = begun, aborts: list[Abort] = aborts, seen: list[Exchange] = seen) -> None:
                called = asyncio.Event()

                def handler(exchange: Exchange) -> None:
                    seen.append(exchange)
                    exchange.on_abort = aborts.append
                    if begun:
                        exchange.start(200, _TEXT)
                        exchange.send(b"piece")
                        ticking.append(asyncio.get_running_loop().create_task(tick(exchange)))
                    called.set()

                async def tick(exchange: Exchange) -> None:
                    while exchange.aborted is None:
                        exchange.send(b"more")
                        await exchange.drain()
                        await asyncio.sleep(0.005)

                ticking: list[asyncio.Task[None]] = []
                async with _patience():
                    await harness.leave(handler, called)
                    for task in ticking:
                        await task
                (exchange,) = seen
                exchange.respond(200, _TEXT, b"too late")
                exchange.start(200, _TEXT)
                exchange.send(b"too late")
                exchange.finish()
                await exchange.drain()

            harness.run(main())
            assert aborts == [Abort.DISCONNECTED]
            assert seen[0].aborted is Abort.DISCONNECTED

"""The one front contract, for every front."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvloop

from modelyard.core.exchange import Handler
from modelyard.server.fronts.asgi import AsgiFront
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig
from modelyard.testing.front_contract import MAX_BODY, FrontContract, FrontHarness

CONFIG = FrontConfig(max_body_bytes=MAX_BODY, half_close_grace_s=0.01, drain_grace_s=0.0)


class Http1Harness(FrontHarness):
    @asynccontextmanager
    async def client(self, handler: Handler) -> AsyncIterator[httpx.AsyncClient]:
        async with self._front(handler) as (_, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client

    async def leave(self, handler: Handler, called: asyncio.Event) -> None:
        async with self._front(handler) as (front, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            await called.wait()
            writer.close()
            while front.connections:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.005)
            await asyncio.sleep(0)

    @asynccontextmanager
    async def _front(self, handler: Handler) -> AsyncIterator[tuple[Http1Front, int]]:
        listener = socket.create_server(("127.0.0.1", 0))
        front = Http1Front(handler, CONFIG)
        await front.serve(listener)
        try:
            yield front, listener.getsockname()[1]
        finally:
            listener.close()
            await front.drain(5)


class AsgiHarness(FrontHarness):
    @asynccontextmanager
    async def client(self, handler: Handler) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(AsgiFront(handler, CONFIG))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client

    async def leave(self, handler: Handler, called: asyncio.Event) -> None:
        messages = [{"type": "http.request", "body": b"{}"}]

        async def receive() -> dict[str, object]:
            if messages:
                return messages.pop()
            await called.wait()
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            await asyncio.sleep(0)

        scope = {"type": "http", "method": "POST", "path": "/left", "query_string": b"", "headers": [], "client": None}
        await AsgiFront(handler, CONFIG)(scope, receive, send)


class TestHttp1Front(FrontContract):
    @pytest.fixture(params=[None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def harness(self, request: pytest.FixtureRequest) -> FrontHarness:
        harness = Http1Harness()
        harness.loop_factory = request.param
        return harness


class TestAsgiFront(FrontContract):
    @pytest.fixture
    def harness(self) -> FrontHarness:
        return AsgiHarness()


def test_asgi_front_answers_lifespan() -> None:
    async def main() -> list[str]:
        sent: list[str] = []
        messages = ["lifespan.startup", "lifespan.shutdown"]

        async def receive() -> dict[str, object]:
            return {"type": messages.pop(0)}

        async def send(message: dict[str, str]) -> None:
            sent.append(message["type"])

        await AsgiFront(lambda exchange: None)({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(main()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

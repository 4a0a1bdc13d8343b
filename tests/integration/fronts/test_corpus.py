"""Framing and smuggling: each case whole over a real socket, and in memory split at every byte and byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
import uvloop

from integration.fronts.corpus import BAD, GOOD, Case
from integration.fronts.memory import ManualLoop, MemoryTransport, connect, front_of, split_replies
from modelyard.core.exchange import Exchange
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig

LIMITS = {
    "max_head_bytes": 2048,
    "max_headers": 32,
    "max_target_bytes": 512,
    "max_body_bytes": 0x10000,
}
CASES = [pytest.param(case, id=case.name) for case in (*GOOD, *BAD)]


def echo(exchange: Exchange) -> None:
    target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
    exchange.respond(200, (), f"{exchange.method} {target} [{exchange.body.decode()}]".encode())


def check(case: Case, answer: bytes) -> None:
    replies = split_replies(answer)
    assert tuple(status for status, _, _ in replies) == case.statuses
    assert tuple(body.decode() for status, _, body in replies if status == 200) == case.echoes
    for status, headers, body in replies:
        assert b"date" in headers
        if status != 200:
            assert list(json.loads(body)) == ["error"]
            assert headers[b"connection"] == b"close"


def run_in_memory(case: Case, pieces: list[bytes]) -> MemoryTransport:
    loop = ManualLoop()
    front = front_of(echo, loop, **LIMITS)
    transport = connect(front)
    for piece in pieces:
        transport.feed(piece)
        loop.turn()
    loop.close()
    return transport


@pytest.mark.parametrize("case", CASES)
def test_case_split_at_every_byte(case: Case) -> None:
    data = case.data
    ways = [[data], [data[at : at + 1] for at in range(len(data))]]
    # Long cases differ only in how much filling they carry: their beginnings, ends and some places between are enough.
    places = (
        range(1, len(data)) if len(data) < 700 else [*range(1, 120), *range(120, len(data) - 40, 997), *range(len(data) - 40, len(data))]
    )
    ways += [[data[:at], data[at:]] for at in places]
    expected: bytes | None = None
    for pieces in ways:
        transport = run_in_memory(case, pieces)
        if transport.written != expected:
            check(case, transport.written)
            expected = transport.written
        assert transport.eof == case.closes


async def exchange_all() -> dict[str, bytes]:
    """Sends each case whole over a socket of its own and ends our side; what came back until the server's end, by case."""
    listener = socket.create_server(("127.0.0.1", 0))
    front = Http1Front(echo, FrontConfig(**LIMITS))
    await front.serve(listener)

    async def send(case: Case) -> bytes:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(case.data)
        if not case.closes:
            writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    cases = (*GOOD, *BAD)
    answers = await asyncio.gather(*(send(case) for case in cases))
    listener.close()
    assert await front.drain(5) == 0
    return {case.name: answer for case, answer in zip(cases, answers, strict=True)}


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def answers(request: pytest.FixtureRequest) -> dict[str, bytes]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        return runner.run(exchange_all())


@pytest.mark.parametrize("case", CASES)
def test_case_whole_over_a_socket(case: Case, answers: dict[str, bytes]) -> None:
    check(case, answers[case.name])

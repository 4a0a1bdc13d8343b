"""Sharing connections and work among workers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.exchange import Exchange
from modelyard.server.balance import Balancer, Excess, LoadBoard, asked_of_the_cores
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig
from modelyard.server.listen import Acceptor, inherit_listener, listen


def test_a_board_tells_who_goes_first(tmp_path: Path) -> None:
    first, second = LoadBoard(tmp_path / "load", 3), LoadBoard(tmp_path / "load", 3)
    assert not first.others_go_first(0, 0)
    second.set(1, 2)
    assert not first.others_go_first(0, 2)
    assert first.others_go_first(0, 3)
    assert not second.others_go_first(1, 5)
    first.set(0, 3)
    second.worked(1, 0.5)
    assert not first.others_go_first(0, 9), "who has less to do goes first, whoever has fewer connections"
    assert second.others_go_first(1, 0)
    first.worked(0, 0.48)
    assert first.others_go_first(0, 3), "where the work is alike, connections count"
    second.withdraw(1)
    assert not first.others_go_first(0, 3)
    first.close()
    second.close()


def test_a_connection_is_expected_to_bring_what_others_do(tmp_path: Path) -> None:
    """Or a burst of connections would all go to who had least to do before it."""
    board = LoadBoard(tmp_path / "load", 2)
    board.set(0, 4)
    board.set(1, 0)
    board.worked(0, 0.8)
    taken = 0
    while not board.others_go_first(1, taken):
        taken += 1
        board.set(1, taken)
        board.expect(1)
    assert 4 <= taken <= 9
    board.close()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(1, 64))
def test_only_what_is_clearly_too_much_is_moved_and_never_all_of_it(tmp_path_factory, works: list[float], used: int) -> None:
    board = LoadBoard(tmp_path_factory.mktemp("board") / "load", len(works))
    for slot, work in enumerate(works):
        board.set(slot, used)
        board.worked(slot, work)
    mean = sum(works) / len(works)
    for slot, work in enumerate(works):
        excess = board.excess(slot)
        moved = excess.connections(used) if excess is not None else 0
        assert 0 <= moved < used
        if work <= 1.15 * mean:
            assert moved == 0
        if moved:
            assert work - moved * work / used >= mean - 0.3 * work / used - 0.01, "who gives connections away does not become idle"
    board.close()


def test_connections_that_cannot_be_shared_better_stay() -> None:
    assert Excess(0.6, 0.2, 0.3).connections(2) == 0, "four alike over three workers"
    assert Excess(1.0, 0.5, 1.0).connections(1) == 0
    assert Excess(1.0, 0.49, 0.98).connections(2) == 1
    assert Excess(1.0, 0.4, 0.8).connections(16) == 6


def test_time_waited_for_a_core_counts_as_work() -> None:
    before = asked_of_the_cores()
    sum(range(200_000))
    assert asked_of_the_cores() > before


class _Worker:
    """A front with an acceptor and a balancer of its own; what a call asks of it stands in the call's path."""

    def __init__(self, folder: Path, descriptor: int, slot: int, slots: int) -> None:
        self.asked = 0.0
        self.front = Http1Front(self._answer, FrontConfig(drain_grace_s=0))
        self.board = LoadBoard(folder / "load", slots)
        acceptor = Acceptor(self.front, inherit_listener(os.dup(descriptor)), self.board, slot)
        self.front.accept_from(acceptor)
        acceptor.start()
        self._now = 0.0
        self.balancer = Balancer(self.front, self.board, slot, lambda: self.asked, lambda: self._now)

    def _answer(self, exchange: Exchange) -> None:
        self.asked += float(exchange.path[1:])
        exchange.respond(200, (), b"")

    def look(self) -> None:
        self._now += 1.0
        self.balancer.look()


class _Client:
    """Keeps its connection as long as it may; every call must be answered."""

    def __init__(self, address: tuple[str, int], work: float) -> None:
        self._address, self._work = address, work
        self.opened = 0
        self.writer: asyncio.StreamWriter | None = None

    async def call(self) -> None:
        if self.writer is None:
            self._reader, self.writer = await asyncio.open_connection(*self._address)
            self.opened += 1
        self.writer.write(b"GET /%g HTTP/1.1\r\nHost: a\r\n\r\n" % self._work)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        if b"connection: close" in head.lower():
            self.writer.close()
            self.writer = None


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("connections", [8, 16, 32])
def test_work_is_shared_evenly_although_some_connections_bring_much_more(tmp_path: Path, workers: int, connections: int) -> None:
    """They are opened in turns, so that the first acceptor in line gets all the heavy ones."""

    async def main() -> None:
        listener = listen("127.0.0.1", 0)
        made = [_Worker(tmp_path, listener.fileno(), slot, workers) for slot in range(workers)]
        heavy = connections // 2
        works = [(1.5 if number % 2 else 0.15) / heavy for number in range(connections)]
        clients = [_Client(listener.getsockname(), work) for work in works]
        spreads = []
        try:
            for _ in range(60):
                before = [worker.asked for worker in made]
                for client in clients:
                    await client.call()
                shares = [worker.asked - was for worker, was in zip(made, before, strict=True)]
                spreads.append(max(shares) / (sum(shares) / workers))
                for worker in made:
                    worker.look()
        finally:
            for client in clients:
                if client.writer is not None:
                    client.writer.close()
            for worker in made:
                await worker.front.drain(5)
                worker.board.close()
            listener.close()
        assert sorted(spreads[-20:])[10] <= 1.3, spreads
        assert sum(client.opened for client in clients) < 4 * connections, "connections move until it is even, and then stay"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_an_answer_that_cannot_say_so_any_more_does_not_end_its_connection() -> None:
    async def main() -> None:
        begun: list[Exchange] = []

        def handler(exchange: Exchange) -> None:
            exchange.start(200, ())
            begun.append(exchange)

        front = Http1Front(handler, FrontConfig(drain_grace_s=0))
        listener = listen("127.0.0.1", 0)
        await front.serve(listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert front.used() == [], "nothing came over it yet"
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert front.used() == [], "its head is sent"
        begun[0].finish()
        await reader.readuntil(b"0\r\n\r\n")
        (connection,) = front.used()
        connection.drain()
        assert front.used() == []
        writer.close()
        await front.drain(5)
        listener.close()

    asyncio.run(main())

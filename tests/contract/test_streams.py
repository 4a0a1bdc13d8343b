"""A protocol that streams, over the real gate, limiter, journal and supplier on every database: streams end with their budget."""

import asyncio

import pytest

from gate_machine import Machine, grant, limit
from modelyard.core.access import Action
from modelyard.core.clock import SystemClock
from modelyard.core.errors import ModelyardError
from modelyard.core.limits import Limit, Measure, Scope, Window
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.counters import Counters
from modelyard.gate.journal import Journal
from modelyard.gate.permit import expect_soon, spend_soon
from modelyard.gate.supply import Supplier
from modelyard.protocols.routing import Protocol, Route
from modelyard.server.handler import Handler
from modelyard.serving.dataplane import DataPlane
from modelyard.store.database import Store
from modelyard.store.segments import JournalReader
from modelyard.testing.fakes import MemoryExchange

WORKERS = 2
PROMPT = 5


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request):
    store = Store.open(request.getfixturevalue(f"{request.param}_url"), SystemClock())
    store.migrate()
    yield store
    store.close()


class OpenDoor(Gate):
    """A gate that knows everybody, and asks everything else of each call."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.authenticate = lambda headers, query, peer: grant()


class Node:
    """One machine: workers with a journal each, their counters, and the controller that leases for them."""

    def __init__(self, folder, store, name, found):
        self.folder, self.clock = folder, SystemClock()
        self.machine = Machine(folder, self.clock, WORKERS)
        self.machine.publish(found)
        self.counters = Counters(folder / "limits", capacity=64)
        self.supplier = Supplier(store, self.counters, name, self.clock)
        holder = SnapshotHolder(self.machine.snapshot)
        self.journals = [Journal(folder / "journal", name.ljust(16, "-").encode(), slot) for slot in range(WORKERS)]
        later = asyncio.get_running_loop().call_later
        self.handlers = [
            Handler([protocol()], OpenDoor(holder, journal, self.clock, limiter), DataPlane(), later=later)
            for journal, limiter in zip(self.journals, self.machine.workers, strict=True)
        ]

    async def supply(self):
        """The controller's threads and the workers' ticks."""
        while True:
            self.supplier.tick()
            self.machine.tick()
            await asyncio.sleep(0.01)

    def records(self):
        return JournalReader(self.folder / "journal").records()

    def close(self):
        for journal in self.journals:
            journal.close()
        self.counters.close()
        self.machine.close()


def protocol():
    """``POST /iris?tokens=N`` streams N tokens, a letter each, in chunks of up to three."""
    tasks = set()

    def run(call):
        task = asyncio.get_running_loop().create_task(generate(call))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def generate(call):
        permit, exchange, cost = call.permit, call.exchange, call.cost
        cost.tokens_in = PROMPT
        try:
            await expect_soon(permit, cost, len(exchange.body))
        except ModelyardError as error:
            call.fail(error)
            return
        exchange.start(200, ())
        left = int(exchange.query.removeprefix("tokens="))
        while left:
            chunk = min(3, left)
            try:
                await spend_soon(permit, cost, tokens_out=chunk)
            except ModelyardError as error:
                exchange.send(f" [{error.message}]".encode())
                break
            exchange.send(b"t" * chunk)
            left -= chunk
            await asyncio.sleep(0)
        permit.settle(200, cost, ProtocolId.OPENAI, CallKind.GENERATE, 0, 0)
        exchange.finish()

    route = Route("POST", "/{name}", Action.INFER, run, CallKind.GENERATE, names_deployment=True)
    return Protocol("streams", ProtocolId.OPENAI, (route,), lambda error: (429, (), error.message.encode()))


class WatchedExchange(MemoryExchange):
    __slots__ = ("ended",)

    def __init__(self, *what):
        super().__init__(*what)
        self.ended = asyncio.Event()

    def respond(self, status, *rest):
        super().respond(status, *rest)
        if status != 200:
            self.ended.set()

    def finish(self):
        self.ended.set()


async def ask(handler, tokens):
    """The exchange of a stream that has ended, or was refused."""
    exchange = WatchedExchange("POST", f"/iris?tokens={tokens}")
    handler(exchange)
    async with asyncio.timeout(30):
        await exchange.ended.wait()
    return exchange


def stored(store, amount, measure):
    with store.write() as session:
        made = session.limits.add(Limit(id=0, workspace_id=1, scope=Scope.WORKSPACE, measure=measure, window=Window.DAY, amount=amount))
    return limit(amount, measure, Window.DAY, id=made.id, scope=Scope.WORKSPACE)


@pytest.mark.parametrize("nodes", [1, 2])
def test_streams_end_with_the_budget_and_never_beyond_it(store, tmp_path, nodes):
    async def go():
        found = stored(store, 300, Measure.TOKENS_OUT)
        machines = [Node(tmp_path / f"node{number}", store, f"node{number}", found) for number in range(nodes)]
        supplying = [asyncio.create_task(machine.supply()) for machine in machines]
        handlers = [handler for machine in machines for handler in machine.handlers]
        exchanges = await asyncio.gather(*[ask(handlers[number % len(handlers)], 40) for number in range(12)])
        # Whoever was told that units are reserved elsewhere comes again, as told.
        for _ in range(20):
            exchanges.append(await ask(handlers[len(exchanges) % len(handlers)], 1))
        for task in supplying:
            task.cancel()
        records = [record for machine in machines for record in machine.records()]
        for machine in machines:
            machine.close()
        return exchanges, records

    exchanges, records = asyncio.run(go())
    streamed = [exchange.answer_body.partition(b" [") for exchange in exchanges if exchange.answer_status == 200]
    handed_out = sum(len(tokens) for tokens, _, _ in streamed)
    assert 300 - 2 * 3 <= handed_out <= 300
    assert handed_out == sum(record.tokens_out for record in records)
    cut = [why for _, _, why in streamed if why]
    assert cut
    assert all(b"300 tokens out/day" in why for why in cut)
    assert all(record.tokens_in == PROMPT for record in records)


def test_a_prompt_that_does_not_fit_is_refused_before_it_computes(store, tmp_path):
    async def go():
        node = Node(tmp_path / "one", store, "one", stored(store, 2 * PROMPT + 1, Measure.TOKENS_IN))
        supplying = asyncio.create_task(node.supply())
        exchanges = [await ask(node.handlers[number % WORKERS], 6) for number in range(4)]
        supplying.cancel()
        records = node.records()
        node.close()
        return exchanges, records

    exchanges, records = asyncio.run(go())
    assert [exchange.answer_status for exchange in exchanges] == [200, 200, 429, 429]
    assert b"11 tokens in/day for workspace 'it' is used up: 10 spent" in exchanges[2].answer_body
    assert [record.status for record in records].count(200) == 2

"""What a call tells that waits for a replica to start."""

from __future__ import annotations

import asyncio
import time

import pytest

from modelyard.core.access import Action
from modelyard.core.deployments import DeploymentState
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.routing import Protocol, Route
from modelyard.server.handler import Handler
from modelyard.serving.batching import Batcher, BatchOptions, Identity
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.replica import Replica
from modelyard.serving.router import Routes
from modelyard.testing.fakes import MemoryExchange, OpenGate, served_deployment, served_version
from unit.serving.data_plane import BATCHED, FAST, doubling, lane, rows, signature
from unit.serving.replicas.ends import until

COLD, PROGRESS = b"x-modelyard-cold-start-ms", b"x-modelyard-progress"


class Loading:
    """Replicas that become ready when the test says so; also where their calls wait."""

    def __init__(self):
        self.ready_ns, self.stage, self.calls = 0, "loading", []

    def submit(self, call):
        self.calls.append(call)

    def ready(self, outcome):
        self.ready_ns = time.monotonic_ns()
        for call in self.calls:
            call.done(outcome)


class Told(MemoryExchange):
    """Remembers what it was told ahead of the answer."""

    __slots__ = ("told",)

    def inform(self, headers):
        self.told.append(dict(headers))


@pytest.fixture
def loading():
    return Loading()


@pytest.fixture
def handler(loading):
    plane = DataPlane()
    unused = Batcher(
        Replica(doubling(), FAST), Identity("m", 1, 11, signature()), BATCHED, executor=None, options=BatchOptions(), loop=None
    )
    held = lane(served_version(11, signature()), unused)
    held.submit = loading.submit
    plane.put(Routes(served_deployment("demo", {11: 100}), [held], DeploymentState.READY))
    plane.starting[11] = loading

    def run(call):
        call.infer(InferRequest({"x": rows(1)}), lambda outcome: (200, (), b"done"))

    route = Route("POST", "/{name}", Action.INFER, run, CallKind.INFER, names_deployment=True)
    protocol = Protocol("p", ProtocolId.OTHER, (route,), lambda error: (400, (), error.message.encode()))
    return Handler([protocol], OpenGate(), plane)


def ask(handler, **headers):
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    exchange = Told("POST", "/demo", headers={b"authorization": b"Bearer key"} | named)
    exchange.told = []
    handler(exchange)
    return exchange


def answer():
    return InferResponse({"y": rows(1)}, "m", 1, 11, 1)


def test_an_answer_tells_how_long_it_waited(handler, loading):
    exchange = ask(handler)
    assert not exchange.answer_status
    time.sleep(0.03)
    loading.ready(answer())
    assert exchange.answer_status == 200
    assert 30 <= int(exchange.answer_headers[COLD]) < 5000


def test_who_comes_when_a_replica_is_ready_waited_for_none(handler, loading):
    handler._plane.starting.clear()
    exchange = ask(handler, x_modelyard_progress="1")
    loading.ready(answer())
    assert COLD not in exchange.answer_headers
    assert not exchange.told


def test_who_asks_is_told_how_far_it_is_until_it_is_over(handler, loading):
    async def main():
        exchange = ask(handler, x_modelyard_progress="0.1")
        assert exchange.told[0][PROGRESS].startswith(b"loading; waited=0.0")
        await until(lambda: len(exchange.told) >= 3)
        loading.ready(answer())
        count = len(exchange.told)
        await asyncio.sleep(0.25)
        assert len(exchange.told) == count

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("often", ["soon", "0", "-1", "1e9", "61", "٣"])
def test_what_is_no_time_is_refused(handler, often):
    exchange = Told("POST", "/demo", headers={b"authorization": b"Bearer key", PROGRESS: often.encode()})
    exchange.told = []
    handler(exchange)
    assert exchange.answer_status == 400
    assert b"in seconds from 0.1 to 60" in exchange.answer_body

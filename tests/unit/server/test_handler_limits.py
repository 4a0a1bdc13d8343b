"""What the handler does with calls that a limit keeps waiting, and what every answer says about limits."""

import pytest

from modelyard.core.access import Action
from modelyard.core.errors import LimitExceeded, Unavailable
from modelyard.core.exchange import Abort
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.limits import Measure, Standing, Standings
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.counters import Awaited
from modelyard.protocols.routing import Protocol, Route
from modelyard.server.handler import Handler
from modelyard.serving.dataplane import DataPlane
from modelyard.testing.fakes import MemoryExchange, OpenGate

STANDING = Standing(measure=Measure.TOKENS_IN, amount=100, remaining=7, reset_seconds=12.3)
FOREVER = Standing(measure=Measure.REQUESTS, amount=5, remaining=0, reset_seconds=-1.0)


class Later:
    """The loop's ``call_later``, by hand."""

    def __init__(self):
        self.waiting = []

    def __call__(self, seconds, run, *arguments):
        assert 0 < seconds < 1
        self.waiting.append((run, arguments))

    def pass_by(self):
        waiting, self.waiting = self.waiting, []
        for run, arguments in waiting:
            run(*arguments)


@pytest.fixture
def gate():
    return OpenGate()


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def handler(gate, later):
    route = Route("POST", "/x", Action.INFER, lambda call: call.reply(200, (), b"done"), CallKind.INFER)
    protocol = Protocol("p", ProtocolId.OTHER, (route,), lambda error: (429, (), error.message.encode()))
    return Handler([protocol], gate, DataPlane(), later=later)


def ask(handler):
    exchange = MemoryExchange("POST", "/x", headers={b"authorization": b"Bearer key"})
    handler(exchange)
    return exchange


class RowsReserved:
    """What a limit of rows holds for a call; ``answers`` are what it says when it is asked, and at last where the caller stands."""

    foreseen = True

    def __init__(self, answers=(), standings=None):
        self.answers, self.stands, self.expected = list(answers), standings, []

    def expect(self, known, size):
        self.expected.append((known.rows, known.version_id, size))
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer

    def settle(self, status, cost, size):
        pass

    def standings(self):
        return self.stands or Standings(())


class ThreeRows(DataPlane):
    """A data plane that finds three rows in any call."""

    def infer(self, workspace_id, deployment, request, done):
        try:
            request.admit(3, 11)
        except Unavailable as error:
            done(error)
        except LimitExceeded as error:
            done(error)
        else:
            done(InferResponse({}, "m", 1, 11, 3))


@pytest.fixture
def rows_handler(gate, later):
    def run(call):
        call.infer(InferRequest({}), lambda _outcome: (200, (), b"done"))

    route = Route("POST", "/{name}", Action.INFER, run, CallKind.INFER, names_deployment=True)
    protocol = Protocol("p", ProtocolId.OTHER, (route,), lambda error: (429, (), error.message.encode()))
    return Handler([protocol], gate, ThreeRows(), later=later)


def used_up():
    error = LimitExceeded("used up", retry_after=2.2)
    error.standings = (FOREVER,)
    return error


def test_a_call_waits_for_units_that_come(handler, gate, later):
    gate.refuse = Awaited(used_up())
    exchange = ask(handler)
    later.pass_by()
    assert exchange.answer_status == 0
    gate.refuse = None
    later.pass_by()
    assert exchange.answer_status == 200
    assert not later.waiting


def test_a_call_does_not_wait_for_ever(handler, gate, later, monkeypatch):
    now = [1]
    monkeypatch.setattr("time.monotonic_ns", lambda: now[0])
    gate.refuse = Awaited(used_up())
    exchange = ask(handler)
    now[0] += 10**9
    later.pass_by()
    assert (exchange.answer_status, exchange.answer_body) == (429, b"used up")
    assert exchange.answer_headers[b"retry-after"] == b"3"
    assert exchange.answer_headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert b"x-ratelimit-reset-requests" not in exchange.answer_headers


def test_a_call_that_nobody_waits_for_does_not_wait(handler, gate, later):
    gate.refuse = Awaited(used_up())
    exchange = ask(handler)
    exchange.aborted = Abort.DISCONNECTED
    later.pass_by()
    assert not later.waiting


def test_few_calls_wait_and_the_rest_is_refused_at_once(handler, gate, later):
    gate.refuse = Awaited(Unavailable("in a moment", retry_after=1))
    answers = [ask(handler).answer_body for _ in range(200)]
    assert answers.count(b"") == len(later.waiting) == 128
    assert answers.count(b"in a moment") == 72


def test_an_answer_says_where_the_caller_stands(handler, gate):
    gate.reserved = RowsReserved(standings=Standings((STANDING,)))
    headers = ask(handler).answer_headers
    assert headers[b"x-ratelimit-limit-tokens-in"] == b"100"
    assert headers[b"x-ratelimit-remaining-tokens-in"] == b"7"
    assert headers[b"x-ratelimit-reset-tokens-in"] == b"13s"


def test_without_limits_an_answer_says_nothing(handler):
    assert not [name for name in ask(handler).answer_headers if b"ratelimit" in name]


def test_a_decoded_call_waits_for_the_rows_that_it_needs(rows_handler, gate, later):
    gate.reserved = RowsReserved([Awaited(used_up()), None])
    exchange = ask(rows_handler)
    assert exchange.answer_status == 0
    later.pass_by()
    assert (exchange.answer_status, gate.reserved.expected) == (200, [(3, 11, 0), (3, 11, 0)])


def test_a_decoded_call_is_refused_when_its_rows_do_not_fit(rows_handler, gate, later):
    gate.reserved = RowsReserved([used_up()])
    exchange = ask(rows_handler)
    assert (exchange.answer_status, exchange.answer_body) == (429, b"used up")
    assert exchange.answer_headers[b"retry-after"] == b"3"
    assert not later.waiting

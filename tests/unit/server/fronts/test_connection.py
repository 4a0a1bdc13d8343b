"""Behaviour of one connection, on a transport in memory and a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from integration.fronts.memory import ManualLoop, MemoryTransport, connect, front_of, split_replies
from modelyard.core.exchange import Abort, Exchange
from modelyard.server.fronts.http1 import Http1Front

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Stage:
    """A front whose handler keeps each exchange, to be answered by the test."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.open: list[Exchange] = []
        self.aborts: list[Abort] = []

    def front(self, **config: Any) -> Http1Front:
        return front_of(self._handle, self.loop, **config)

    def connect(self, limit: int = 1 << 30, **config: Any) -> MemoryTransport:
        return connect(self.front(**config), limit)

    def _handle(self, exchange: Exchange) -> None:
        exchange.on_abort = self.aborts.append
        self.open.append(exchange)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.loop.close()


def answer(exchange: Exchange, body: bytes = b"x") -> None:
    exchange.respond(200, (), body)


def statuses(transport: MemoryTransport) -> list[int]:
    return [status for status, _, _ in split_replies(transport.written)]


def test_pipelined_requests_open_one_after_the_other(stage: Stage) -> None:
    client = stage.connect()
    client.feed(GET % 1 + GET % 2 + GET % 3)
    assert [exchange.path for exchange in stage.open] == ["/1"]
    answer(stage.open[0], b"one")
    assert [exchange.path for exchange in stage.open] == ["/1", "/2"]
    answer(stage.open[1], b"two")
    answer(stage.open[2], b"three")
    assert [body for _, _, body in split_replies(client.written)] == [b"one", b"two", b"three"]


def test_reading_pauses_when_too_much_is_pipelined_and_resumes_when_answered(stage: Stage) -> None:
    client = stage.connect(max_pipelined_bytes=100)
    client.feed(GET % 1)
    client.feed(GET % 2)
    assert client.reading
    client.feed(GET % 3 * 5)
    assert not client.reading
    answer(stage.open[0])
    assert client.reading
    for _ in range(6):
        answer(stage.open[-1])
    assert statuses(client) == [200] * 7


def test_synchronous_answers_to_many_pipelined_requests_leave_turns_to_others(stage: Stage) -> None:
    front = front_of(answer, stage.loop)
    client = connect(front)
    client.feed(GET % 1 * 100)
    assert 0 < len(statuses(client)) < 100
    stage.loop.turn()
    assert len(statuses(client)) == 100


def test_expectation_is_met_before_the_body_is_read(stage: Stage) -> None:
    client = stage.connect()
    client.feed(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
    assert client.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.feed(b"a")
    client.feed(b"b")
    answer(stage.open[0])
    assert statuses(client) == [100, 200]
    assert stage.open[0].body == b"ab"


@pytest.mark.parametrize("fields", [b"Content-Length: 2\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"])
def test_expectation_is_not_met_when_the_body_is_there(stage: Stage, fields: bytes) -> None:
    client = stage.connect()
    client.feed(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + fields)
    answer(stage.open[0])
    assert statuses(client) == [200]


def test_a_body_over_the_limit_is_refused_instead_of_expected(stage: Stage) -> None:
    client = stage.connect(max_body_bytes=1)
    client.feed(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert statuses(client) == [413]
    assert client.eof


def test_what_follows_a_refusal_is_thrown_away_until_the_client_ends(stage: Stage) -> None:
    client = stage.connect(max_body_bytes=1)
    client.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n")
    client.feed(b"x" * 90 + GET % 1)
    assert not client.closed
    client.end()
    assert client.closed
    assert not client.aborted
    assert stage.open == []


def test_old_clients_get_an_answer_delimited_by_the_end(stage: Stage) -> None:
    client = stage.connect()
    client.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    exchange = stage.open[0]
    exchange.start(200, ())
    exchange.send(b"one")
    exchange.send(b"two")
    assert not client.eof
    exchange.finish()
    assert client.eof
    ((_, headers, body),) = split_replies(client.written)
    assert body == b"onetwo"
    assert headers[b"connection"] == b"close"
    assert b"transfer-encoding" not in headers


def test_old_clients_that_keep_the_connection_are_told_so(stage: Stage) -> None:
    client = stage.connect()
    client.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer(stage.open[0])
    assert split_replies(client.written)[0][1][b"connection"] == b"keep-alive"
    assert not client.eof


def test_a_handler_that_raises_is_answered_with_500(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def fail(exchange: Exchange) -> None:
        raise KeyError("secret")

    client = connect(front_of(fail, stage.loop))
    client.feed(GET % 1)
    assert statuses(client) == [500]
    assert b"secret" not in client.written
    assert client.eof
    assert "secret" in caplog.text


def test_a_handler_that_raises_in_a_begun_answer_cuts_the_connection(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def fail(exchange: Exchange) -> None:
        exchange.start(200, ())
        exchange.send(b"half")
        raise KeyError("secret")

    client = connect(front_of(fail, stage.loop))
    client.feed(GET % 1)
    assert client.aborted
    assert not client.written.endswith(b"0\r\n\r\n")


def test_disconnect_aborts_the_open_exchange_and_drops_its_answer(stage: Stage) -> None:
    client = stage.connect()
    client.feed(GET % 1)
    client.close()
    stage.loop.turn()
    assert stage.aborts == [Abort.DISCONNECTED]
    assert stage.open[0].aborted is Abort.DISCONNECTED
    answer(stage.open[0])
    assert client.written == b""


def test_a_client_that_ends_its_side_still_gets_a_quick_answer(stage: Stage) -> None:
    client = stage.connect(half_close_grace_s=0.25)
    client.feed(GET % 1 + GET % 2)
    client.end()
    answer(stage.open[0])
    answer(stage.open[1])
    stage.loop.advance(1)
    assert statuses(client) == [200, 200]
    assert client.closed
    assert stage.aborts == []


def test_a_client_that_ends_its_side_counts_as_gone_after_the_grace(stage: Stage) -> None:
    client = stage.connect(half_close_grace_s=0.25)
    client.feed(GET % 1)
    client.end()
    stage.loop.advance(0.2)
    assert stage.aborts == []
    stage.loop.advance(0.1)
    assert stage.aborts == [Abort.DISCONNECTED]
    assert client.closed


@pytest.mark.parametrize("part", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"])
def test_an_end_inside_a_request_is_refused(stage: Stage, part: bytes) -> None:
    client = stage.connect()
    client.feed(part)
    client.end()
    assert statuses(client) == [400]
    assert client.closed


def test_an_end_between_requests_closes_quietly(stage: Stage) -> None:
    client = stage.connect()
    client.end()
    assert client.closed
    assert client.written == b""


def test_slow_head_is_refused_however_it_trickles(stage: Stage) -> None:
    client = stage.connect(head_timeout_s=10)
    for byte in b"GET / HTTP/1.1\r\nX: y":
        client.feed(bytes((byte,)))
        stage.loop.advance(1)
    assert statuses(client) == [408]
    assert client.aborted  # The client has not ended its side in the time to linger.


def test_slow_body_is_refused_unless_it_comes_at_the_least_rate(stage: Stage) -> None:
    slow = stage.connect(body_timeout_s=10, min_body_rate=10)
    fast = stage.connect(body_timeout_s=10, min_body_rate=10)
    for client in (slow, fast):
        client.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(40):
        slow.feed(b"x")
        fast.feed(b"x" * 20)
        stage.loop.advance(1)
    assert statuses(slow) == [408]
    assert fast.written == b""
    fast.feed(b"x" * 200)
    assert len(stage.open) == 1


def test_idle_connections_close_without_a_word(stage: Stage) -> None:
    new = stage.connect(head_timeout_s=10)
    kept = stage.connect(idle_timeout_s=75)
    kept.feed(GET % 1)
    answer(stage.open[0])
    stage.loop.advance(12)
    assert new.eof
    assert new.written == b""
    stage.loop.advance(60)
    assert not kept.eof
    stage.loop.advance(10)
    assert kept.eof
    assert statuses(kept) == [200]


def test_a_late_answer_is_given_up_and_the_handler_told(stage: Stage) -> None:
    client = stage.connect(answer_timeout_s=30)
    client.feed(GET % 1)
    stage.loop.advance(32)
    assert statuses(client) == [504]
    assert stage.aborts == [Abort.TIMED_OUT]
    answer(stage.open[0])
    assert statuses(client) == [504]


def test_a_client_that_takes_nothing_is_cut_off(stage: Stage) -> None:
    client = stage.connect(limit=100, write_timeout_s=20)
    client.feed(GET % 1)
    exchange = stage.open[0]
    exchange.start(200, ())
    exchange.send(b"x" * 1000)
    stage.loop.advance(15)
    client.take(10)
    stage.loop.advance(15)
    assert not client.closed
    stage.loop.advance(10)
    assert client.aborted
    assert stage.aborts == [Abort.TIMED_OUT]


def test_no_request_is_read_while_the_last_answer_is_not_taken(stage: Stage) -> None:
    client = stage.connect(limit=1000)
    client.feed(GET % 1)
    answer(stage.open[0], b"x" * 2000)
    client.feed(GET % 2)
    assert len(stage.open) == 1
    client.take()
    assert [exchange.path for exchange in stage.open] == ["/1", "/2"]


def test_connections_over_the_limit_are_told_and_closed(stage: Stage) -> None:
    front = stage.front(max_connections=2)
    clients = [connect(front) for _ in range(30)]
    assert [statuses(client) for client in clients[:4]] == [[], [], [503], [503]]
    assert clients[2].eof
    assert clients[29].aborted
    clients[2].end()
    assert clients[2].closed


def test_bodies_of_all_connections_together_are_limited(stage: Stage) -> None:
    front = stage.front(max_buffered_bytes=1500)
    clients = [connect(front) for _ in range(3)]
    for client in clients:
        client.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 700)
    assert [statuses(client) for client in clients] == [[], [], [503]]
    clients[0].feed(b"x" * 300)
    clients[1].close()
    assert front.budget.held == 0


def test_draining_tells_kept_connections_to_close(stage: Stage) -> None:
    front = stage.front()
    busy, kept = connect(front), connect(front)
    busy.feed(GET % 1)
    front.stop_accepting()
    kept.feed(GET % 2)
    for exchange in stage.open:
        answer(exchange)
    for client in (busy, kept):
        assert split_replies(client.written)[0][1][b"connection"] == b"close"
        assert client.eof


def test_chunked_answers_are_framed_and_the_connection_kept(stage: Stage) -> None:
    client = stage.connect()
    client.feed(GET % 1 + GET % 2)
    stage.open[0].start(200, ((b"content-type", b"text/event-stream"),))
    stage.open[0].send(b"a" * 20)
    stage.open[0].finish()
    answer(stage.open[1])
    assert client.written.split(b"\r\n\r\n", 1)[1].startswith(b"14\r\n" + b"a" * 20 + b"\r\n0\r\n\r\nHTTP/1.1 200")


def test_chunks_that_are_all_framing_are_refused(stage: Stage) -> None:
    client = stage.connect()
    client.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        client.feed(b"1\r\na\r\n" * 1000)
    assert statuses(client) == [400]
    assert json.loads(split_replies(client.written)[0][2])["error"].startswith("The chunks")


def test_large_answers_are_written_without_joining(stage: Stage) -> None:
    client = stage.connect()
    client.feed(GET % 1)
    stage.open[0].respond(200, [], [b"a" * 100_000, memoryview(bytearray(100_000)).cast("I")])
    ((_, headers, body),) = split_replies(client.written)
    assert headers[b"content-length"] == b"200000"
    assert body == b"a" * 100_000 + bytes(100_000)


def test_an_answer_begun_before_draining_still_ends_its_connection(stage: Stage) -> None:
    front = stage.front()
    client = connect(front)
    client.feed(GET % 1)
    stage.open[0].start(200, ())
    front.stop_accepting()
    stage.open[0].finish()
    assert client.eof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.fronts.memory import ManualLoop, front_of
from modelyard.server.fronts.framing import HeadReader
from modelyard.server.fronts.intake import Budget, Intake
from modelyard.server.fronts.limits import FrontConfig, Refused

REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
    b"POST /b?c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /b?c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nworld",
    b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"POST /b HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
    b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
]


@pytest.fixture(scope="module")
def connection():
    loop = ManualLoop()
    yield front_of(lambda _: None, loop).new_connection()
    loop.close()


def intake():
    config = FrontConfig()
    return Intake(config, HeadReader(config), Budget(1 << 20))


def whole(one, connection, data):
    """All requests of some bytes that came at once."""
    one.feed(data)
    found = []
    while one.buffer:
        exchange = one.take(connection)
        if exchange is None:
            break
        found.append(exchange)
    return found


def said(exchange):
    return exchange.method, exchange.path, exchange.query, dict(exchange.headers), exchange.body, exchange.persistent, exchange.old


@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_what_came_before_changes_nothing_of_what_a_request_says(connection, requests, cuts):
    expected = [said(whole(intake(), connection, request)[0]) for request in requests]
    together, data, found, at = intake(), b"".join(requests), [], 0
    while at < len(data):
        step = cuts[len(found) % len(cuts)]
        found += [said(exchange) for exchange in whole(together, connection, data[at : at + step])]
        at += step
    assert found == expected


def test_the_same_head_is_read_once_and_another_one_anew(connection):
    one = intake()
    first, second = whole(one, connection, REQUESTS[2] + REQUESTS[3])
    assert first.headers is second.headers
    assert (first.body, second.body) == (b"hello", b"world")
    (other,) = whole(one, connection, REQUESTS[2].replace(b"/b?c", b"/b?d"))
    assert (other.query, other.headers) == ("d", first.headers)
    assert other.headers is not first.headers
    (same,) = whole(intake(), connection, REQUESTS[2])
    assert same.headers is not first.headers


def test_a_head_that_goes_on_where_the_last_one_ended_is_another(connection):
    one = intake()
    whole(one, connection, REQUESTS[0])
    with pytest.raises(Refused):
        whole(one, connection, REQUESTS[0][:-2] + b"Host: b\r\n\r\n")


def test_a_long_head_is_not_kept(connection):
    one, long = intake(), b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 3000 + b"\r\n\r\n"
    first, second = whole(one, connection, long + long)
    assert first.headers == second.headers
    assert first.headers is not second.headers

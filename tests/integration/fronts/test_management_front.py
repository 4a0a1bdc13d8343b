"""Heads of requests to the management API are bounded in size and time, before anybody is known."""

import asyncio
import json
import socket
import threading
import time
from dataclasses import replace

import pytest

from modelyard.server.entrance import OPEN
from modelyard.server.fronts.limits import FrontConfig
from modelyard.server.fronts.management import BoundedConnection, ManagementServer

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n"
LIMITS = FrontConfig(max_head_bytes=2048, max_headers=20, head_timeout_s=30)


async def app(scope, receive, send):
    """Says the number of fields, and the size of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = f"{len(scope['headers'])} {size}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(BoundedConnection, "limits", LIMITS)
    listener = socket.create_server(("127.0.0.1", 0))
    serving, made = threading.Event(), []

    def run():
        async def serve():
            made.append(ManagementServer(app, listener, OPEN, serving.set))
            await made[0].serve()

        asyncio.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert serving.wait(30)
    yield listener.getsockname()[1]
    made[0].stop()
    thread.join(30)


@pytest.fixture
def connection(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as made:
        yield made


def answered(connection, *pieces):
    """Status and body of the answer to what is sent in pieces; 0 where the connection ends without one."""
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(0.01)
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            return 0, b""
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")))
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "pieces",
    [
        [GET + b"X: " + b"a" * 3000 + b"\r\n\r\n"],
        [GET + b"X: ", *[b"a" * 500] * 6],  # one field that never ends
        [b"GET /", *[b"a" * 500] * 6],
        [GET + b"X-Field: a\r\n" * 30 + b"\r\n"],
        [GET, *[b"X-Field: aaaaaaaa\r\n" * 5] * 6],
        [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: " + b"a" * 3000 + b"\r\n\r\n"],
    ],
)
def test_a_head_that_is_too_large_is_refused_and_the_connection_ended(connection, pieces):
    status, body = answered(connection, *pieces)
    if status == 200:  # its answer needed no trailers, but nothing more is read of them
        status, body = answered(connection)
    assert status in {0, 431}
    if status:
        assert json.loads(body)["error"]["code"] == "too_large"
        assert "20 fields and 2048 bytes" in json.loads(body)["error"]["message"]
        assert connection.recv(1) == b""


def test_heads_within_the_limits_are_answered_however_they_come(connection):
    head = GET + b"X: " + b"a" * 1500 + b"\r\n\r\n"
    assert answered(connection, head) == (200, b"2 0")
    assert answered(connection, *[head[at : at + 100] for at in range(0, len(head), 100)]) == (200, b"2 0")
    post = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"
    assert answered(connection, post, *[b"b" * 3000] * 3) == (200, b"2 9000")
    # The end of a body and a part of the next head in one piece.
    assert answered(connection, post + b"b" * 8000, b"b" * 1000 + GET[:10]) == (200, b"2 9000")
    assert answered(connection, GET[10:] + b"\r\n") == (200, b"1 0")


@pytest.mark.parametrize(("before", "begun"), [(b"", b""), (b"", GET), (GET + b"\r\n", GET)])
def test_who_does_not_come_to_an_end_is_not_waited_for(port, monkeypatch, before, begun):
    monkeypatch.setattr(BoundedConnection, "limits", replace(LIMITS, head_timeout_s=0.3))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        if before:
            assert answered(connection, before) == (200, b"1 0")
        assert answered(connection, begun) == (0, b"")


def test_what_is_no_http_is_told_so(connection):
    assert answered(connection, b"nonsense\r\n\r\n")[0] == 400

"""The HTTP/1.1 front over real sockets: slow clients, back-pressure, disconnects, drains, and spawned workers on one port."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvloop

from integration.fronts.memory import split_replies
from modelyard.core.exchange import Abort, Exchange, Handler
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig
from modelyard.server.listen import listen

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1", **config: Any) -> AsyncIterator[tuple[Http1Front, Any]]:
    with listen(host, 0) as listener:
        front = Http1Front(handler, FrontConfig(**config))
        await front.serve(listener)
        yield front, listener.getsockname()
    await front.drain(0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is the kernel's doing
        await asyncio.sleep(0.005)


def test_a_client_that_reads_slowly_holds_the_stream_but_not_the_server() -> None:
    sent: list[int] = [0]
    tasks: list[asyncio.Task[None]] = []

    async def stream(exchange: Exchange) -> None:
        exchange.start(200, ())
        for _ in range(400):
            exchange.send(b"x" * 65_536)
            sent[0] += 1
            await exchange.drain()
        exchange.finish()

    def handler(exchange: Exchange) -> None:
        if exchange.path == "/stream":
            tasks.append(asyncio.get_running_loop().create_task(stream(exchange)))
        else:
            exchange.respond(200, (), b"quick")

    async def main() -> None:
        async with serving(handler) as (_, address):
            reader, writer = await asyncio.open_connection(*address, limit=65_536)
            writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await until(lambda: sent[0] > 2)
            other_reader, other_writer = await asyncio.open_connection(*address)
            for _ in range(20):
                other_writer.write(GET)
                assert (await other_reader.readuntil(b"quick")).startswith(b"HTTP/1.1 200")
            assert sent[0] < 400  # Held back: the rest waits for the client, not in memory.
            ((status, _, body),) = split_replies(await reader.read())
            assert (status, len(body)) == (200, 400 * 65_536)
            await tasks[0]
            writer.close()
            other_writer.close()

    run(main)


def test_a_client_that_never_reads_is_cut_off_and_the_handler_told() -> None:
    aborts: list[Abort] = []

    def handler(exchange: Exchange) -> None:
        exchange.on_abort = aborts.append
        exchange.start(200, ())
        for _ in range(500):
            exchange.send(b"x" * 65_536)

    async def main() -> None:
        async with serving(handler, write_timeout_s=0.2) as (front, address):
            with socket.create_connection(address) as client:
                client.sendall(GET)
                await until(lambda: front.connections == 1)
                await until(lambda: front.connections == 0)
            assert aborts == [Abort.TIMED_OUT]

    run(main)


def test_slow_and_silent_clients_are_let_go() -> None:
    async def main() -> None:
        limits = {"head_timeout_s": 0.2, "body_timeout_s": 0.2, "idle_timeout_s": 0.2, "linger_timeout_s": 0.2}
        async with serving(lambda exchange: exchange.respond(200, (), b""), **limits) as (front, address):

            async def converse(data: bytes) -> list[int]:
                reader, writer = await asyncio.open_connection(*address)
                writer.write(data)
                replies = split_replies(await reader.read())
                writer.close()
                return [status for status, _, _ in replies]

            post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"
            found = await asyncio.gather(*(converse(data) for data in (b"", b"GET /", post, GET, GET + b"GET")))
            assert found == [[], [408], [408], [200], [200, 408]]
            await until(lambda: front.connections == 0)

    run(main)


def test_a_disconnect_while_computing_reaches_the_handler() -> None:
    aborts: list[Abort] = []

    def handler(exchange: Exchange) -> None:
        exchange.on_abort = aborts.append

    async def main() -> None:
        async with serving(handler, half_close_grace_s=0.02) as (front, address):
            for reset in (False, True):
                client = socket.create_connection(address)
                client.sendall(GET)
                await until(lambda: front.connections == 1)
                await asyncio.sleep(0.02)
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
                await until(lambda: front.connections == 0)
                await asyncio.sleep(0)
            assert aborts == [Abort.DISCONNECTED] * 2

    run(main)


def test_an_error_reaches_a_client_that_is_still_sending() -> None:
    async def main() -> None:
        async with serving(lambda exchange: exchange.respond(200, (), b""), max_body_bytes=1000) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
            for _ in range(3):
                writer.write(b"x" * 1_000_000)
            replies = split_replies(await reader.read())
            assert [status for status, _, _ in replies] == [413]
            writer.close()

    run(main)


def test_draining_answers_what_is_under_way_and_cuts_off_what_is_not_answered_in_time() -> None:
    aborts: list[Abort] = []
    waiting: list[Exchange] = []

    def handler(exchange: Exchange) -> None:
        exchange.on_abort = aborts.append
        waiting.append(exchange)

    async def main() -> None:
        async with serving(handler, drain_grace_s=0.05) as (front, address):
            pairs = [await asyncio.open_connection(*address) for _ in range(3)]
            for _, writer in pairs[:2]:
                writer.write(GET)
            await until(lambda: len(waiting) == 2)
            asyncio.get_running_loop().call_later(0.1, waiting[0].respond, 200, (), b"in time")
            assert await front.drain(0.4) == 1
            answers = [await reader.read() for reader, _ in pairs]
            assert sorted(map(len, answers))[:2] == [0, 0]
            ((_, headers, body),) = split_replies(max(answers, key=len))
            assert (headers[b"connection"], body) == (b"close", b"in time")
            assert aborts == [Abort.DRAINED]
            assert front.connections == 0
            for _, writer in pairs:
                writer.close()

    run(main)


def test_a_unix_socket_serves_too(tmp_path: Path) -> None:
    peers: list[str] = []

    def handler(exchange: Exchange) -> None:
        peers.append(exchange.peer)
        exchange.respond(200, (), b"")

    async def main() -> None:
        path = f"/tmp/modelyard-{os.getpid()}-{os.urandom(4).hex()}.sock"
        async with serving(handler, path) as (_, address):
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write(GET)
            assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
            writer.close()
        os.unlink(path)  # noqa: PTH108 - a loop runs here, which forbids pathlib's
        assert peers == ["unix"]

    run(main)


@contextmanager
def workers(listener: socket.socket, board: Path) -> Iterator[list[subprocess.Popen[str]]]:
    script = str(Path(__file__).with_name("spawned_worker.py"))
    started = [
        subprocess.Popen(
            [sys.executable, script, str(listener.fileno()), str(slot), str(board)],
            pass_fds=(listener.fileno(),),
            stdout=subprocess.PIPE,
            text=True,
        )
        for slot in range(2)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def ask(port: int, path: str = "/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    reply = connection.getresponse()
    assert reply.status == 200
    body = int(reply.read())
    connection.close()
    return body


def test_no_request_fails_while_a_worker_drains(tmp_path: Path) -> None:
    failures: list[Exception] = []
    answered: list[int] = []
    stop = threading.Event()

    def keep_asking(port: int, path: str) -> None:
        while not stop.is_set():
            try:
                answered.append(ask(port, path))
            except (OSError, http.client.HTTPException, AssertionError) as error:
                failures.append(error)

    with listen("127.0.0.1", 0) as listener, workers(listener, tmp_path / "load") as (first, second):
        port = listener.getsockname()[1]
        threads = [threading.Thread(target=keep_asking, args=(port, path)) for path in ("/", "/", "/slow", "/slow")]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: {first.pid, second.pid} <= set(answered))
            first.send_signal(signal.SIGTERM)
            assert first.wait(10) == 0
            assert first.stdout is not None
            assert first.stdout.read() == "0\n"
            answered.clear()
            wait_for(lambda: len(answered) > 50)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert set(answered) == {second.pid}


def test_connections_wait_in_the_queue_while_no_worker_lives(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with workers(listener, tmp_path / "load") as killed:
            ask(port)
            for process in killed:
                process.kill()
                process.wait()
            early = socket.create_connection(("127.0.0.1", port))
            early.sendall(GET)
        with workers(listener, tmp_path / "load") as living:
            early.settimeout(20)
            reply = early.makefile("rb")
            assert reply.readline() == b"HTTP/1.1 200 OK\r\n"
            assert ask(port) in {process.pid for process in living}
            early.close()
            reply.close()


def wait_for(condition: Callable[[], bool]) -> None:
    event = threading.Event()
    for _ in range(2000):
        if condition():
            return
        event.wait(0.01)
    raise AssertionError("It did not happen within 20 s.")

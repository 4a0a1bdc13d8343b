"""Opening, inheriting and sharing listening sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.core.exchange import Exchange
from modelyard.server.balance import LoadBoard
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig
from modelyard.server.listen import Acceptor, grpc_address, inherit_listener, listen, listener_url, reserve


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://"), ("0.0.0.0", "http://0.0.0.0:")])
def test_port_zero_takes_a_free_port(host: str, url: str) -> None:
    with listen(host, 0) as listener:
        assert listener_url(listener).startswith(url)
        assert listener.getsockname()[1] > 0
        assert not listener.getblocking()


def test_ipv6_addresses_are_listened_on() -> None:
    with listen("::1", 0) as listener:
        port = listener.getsockname()[1]
        assert listener_url(listener) == f"http://[::1]:{port}"
        socket.create_connection(("::1", port)).close()


def test_a_port_in_use_is_refused_even_to_those_who_would_share_it() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Conflict, match=f"127.0.0.1:{port} is in use"):
            listen("127.0.0.1", port)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError) as raised:  # noqa: PT011 - the number is checked
                other.bind(("127.0.0.1", port))
            assert raised.value.errno == errno.EADDRINUSE


def test_a_port_is_free_again_at_once_after_connections_were_open() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        listener.setblocking(True)
        listener.accept()[0].close()
        client.close()
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be listened on"):
        listen(host, 0)


@pytest.fixture
def path() -> Iterator[Path]:
    path = Path(f"/tmp/modelyard-test-{os.getpid()}-{os.urandom(4).hex()}.sock")  # Paths of sockets must be short.
    yield path
    path.unlink(missing_ok=True)


def test_a_unix_socket_is_private_and_refused_while_in_use(path: Path) -> None:
    with listen(str(path), 0) as listener:
        assert listener_url(listener) == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(Conflict, match="in use"):
            listen(str(path), 0)
    listen(str(path), 0).close()


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(Conflict, match="is no socket"):
        listen(str(path), 0)
    assert path.read_text() == "precious"


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(InvalidRequest, match="no socket"):
        inherit_listener(file.fileno())


def _answer(exchange: Exchange) -> None:
    exchange.respond(200, (), b"")


def test_a_worker_that_hangs_holds_up_the_others_for_moments_only(tmp_path: Path) -> None:
    async def main() -> None:
        listener = listen("127.0.0.1", 0)
        board = LoadBoard(tmp_path / "load", 2)
        board.set(1, 0)  # A neighbour without connections, which never comes for any.
        front = Http1Front(_answer, FrontConfig(drain_grace_s=0))
        acceptor = Acceptor(front, inherit_listener(os.dup(listener.fileno())), board, 0)
        front.accept_from(acceptor)
        acceptor.start()
        writers = [(await asyncio.open_connection(*listener.getsockname()))[1] for _ in range(50)]
        async with asyncio.timeout(20):
            while front.connections < 50:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.001)
        for writer in writers:
            writer.close()
        await front.drain(5)
        listener.close()
        board.close()

    asyncio.run(main())


def test_workers_share_connections_evenly_and_one_that_closes_leaves_the_queue_to_others(tmp_path: Path) -> None:
    async def main() -> None:
        listener = listen("127.0.0.1", 0)
        fronts = [Http1Front(_answer, FrontConfig(drain_grace_s=0)) for _ in range(2)]
        boards = [LoadBoard(tmp_path / "load", 2) for _ in fronts]
        for slot, front in enumerate(fronts):
            acceptor = Acceptor(front, inherit_listener(os.dup(listener.fileno())), boards[slot], slot)
            front.accept_from(acceptor)
            acceptor.start()

        async def ask() -> asyncio.StreamWriter:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            return writer

        writers = await asyncio.gather(*(ask() for _ in range(20)))
        assert [front.connections for front in fronts] == [10, 10]
        fronts[0].stop_accepting()
        writers += await asyncio.gather(*(ask() for _ in range(5)))
        assert [front.connections for front in fronts] == [10, 15]
        for writer in writers:
            writer.close()
        for front in fronts:
            assert await front.drain(5) == 0
        listener.close()
        for board in boards:
            board.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_reserved_port_is_shared_by_those_who_mean_to_and_refused_to_all_others():
    with reserve("127.0.0.1", 0) as holder:
        address = holder.getsockname()
        assert grpc_address(holder) == f"127.0.0.1:{address[1]}"
        with socket.socket() as worker:
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # as gRPC sets them
                worker.setsockopt(socket.SOL_SOCKET, option, 1)
            worker.bind(address)
            worker.listen()
            with socket.create_connection(address):
                worker.accept()[0].close()
            for take in (reserve, listen):
                with pytest.raises(Conflict, match="in use"):
                    take(*address)
        with pytest.raises(Conflict, match="in use"):
            reserve(*address)
    with reserve(*address):
        pass


def test_nothing_is_reserved_beside_a_unix_socket(tmp_path):
    assert reserve(str(tmp_path / "socket"), 8001) is None

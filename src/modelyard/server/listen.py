"""Listening sockets: opened once by the supervisor, inherited by the workers it spawns.

One socket is shared by all workers. The other way, a socket with SO_REUSEPORT for each worker, was measured beside it
(``benchmarks/listening/measure.py``) and is not taken:

- The kernel hands a connection to a socket by a hash, so with few connections some worker gets most of them, and connections
  in the queue of a worker that drains, hangs or dies wait for *that* worker; on the shared socket any other takes them.
- With SO_REUSEPORT a second instance of the same user can share the port by mistake. Here its bind fails.

What a shared socket lacks is balance: every idle worker wakes up and the quickest takes all that wait. ``Acceptor`` mends that: it takes
one connection per turn of the loop, and lets a worker with less work or fewer connections go first, as ``LoadBoard`` tells. Measured
with two workers and 32 connections, busiest over mean: 1.9 shared without it, 1.2 with a socket each, 1.0 to 1.2 shared with it; with two
connections 2.0, 1.0 or 2.0 by luck, and 1.0. Connections that bring unequal work are another matter: ``balance.py``.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from modelyard.core.addresses import UNIX
from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.server.balance import LoadBoard
from modelyard.server.entrance import OPEN, Entrance

BACKLOG = 2048
"""Connections that may wait to be accepted; the kernel may allow less."""
_DEFERENCE_S = 0.002
_MOST_LATE = 16
_EXHAUSTED_S = 0.1


def listen(host: str, port: int, backlog: int = BACKLOG, mode: int = 0o600) -> socket.socket:
    """A listening socket on an IPv4 or IPv6 address, a host name, or, where ``host`` contains a slash, a Unix socket path.

    Port 0 takes a free one; ``mode`` is for the socket's file.
    Raises Conflict when the port or path is in use, InvalidRequest when it cannot be listened on.
    """
    if "/" in host:
        return _open_unix(Path(host), backlog, mode)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise InvalidRequest(f"The host {host!r} cannot be listened on: {error.strerror}; give an address of this machine.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        # Lets a restart bind while old connections linger; unlike SO_REUSEPORT it never lets two listen at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host in {"", "::"}:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Inherited by accepted connections: answers are written whole, waiting for more only costs time.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise _bind_error(f"{host}:{port}", error) from None
    listener.setblocking(False)
    return listener


def reserve(host: str, port: int) -> socket.socket | None:
    """Holds a port for gRPC, whose library opens sockets itself: each worker listens on the same port with SO_REUSEPORT.

    The socket that is given back never listens; as long as it is open, no second platform can reserve the port. None where ``host`` is
    a Unix socket. Raises Conflict when anything holds the port, InvalidRequest when it cannot be listened on.
    """
    if "/" in host:
        return None
    try:
        with listen(host, port) as probe:
            address = probe.getsockname()
    except Conflict:
        raise Conflict(
            f"{host}:{port}, the port of gRPC, is in use by another process; choose another --grpc-port, or -1 for none."
        ) from None
    holder = socket.socket(probe.family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as error:
        holder.close()
        raise _bind_error(f"{host}:{port}", error) from None
    return holder


def grpc_address(holder: socket.socket) -> str:
    """A reserved address as gRPC writes it: ``127.0.0.1:8001`` or ``[::1]:8001``."""
    host, port = holder.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def inherit_listener(descriptor: int) -> socket.socket:
    """The listening socket that a parent process handed down by number."""
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise InvalidRequest(
            f"File descriptor {descriptor} is no socket ({error.strerror}); workers are started by the supervisor."
        ) from None
    listener.setblocking(False)
    return listener


def listener_url(listener: socket.socket, *, secure: bool = False) -> str:
    """Its URL: ``http://127.0.0.1:8000``, ``https://[::1]:8000`` or ``unix:/path``."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    scheme, host = "https" if secure else "http", name[0]
    return f"{scheme}://[{host}]:{name[1]}" if ":" in host else f"{scheme}://{host}:{name[1]}"


def _open_unix(path: Path, backlog: int, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise _bind_error(str(path), error) from None
    except Conflict:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    """Takes away the socket file of a process that is gone; anything else at that path stays."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} exists and is no socket; remove it or listen elsewhere.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise Conflict(f"{path} is in use by another process; stop it or listen elsewhere.")
    path.unlink(missing_ok=True)


def _bind_error(where: str, error: OSError) -> Conflict | InvalidRequest:
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"{where} is in use by another process; stop it or choose another port.")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return InvalidRequest(f"{where} cannot be listened on: {reason}; choose an address of this machine and a port you may use.")


class Accepting(Protocol):
    """What an acceptor needs of a front; ``Http1Front`` has it."""

    count_changed: Callable[[int], None] | None

    @property
    def connections(self) -> int: ...
    def new_connection(self) -> asyncio.Protocol: ...


class Acceptor:
    """Accepts connections for one worker from a socket shared with others, fairly.

    One connection per turn of the loop, and when another worker has less, that one gets two milliseconds to come first. A worker
    that does not come (it hangs, or computes) soon delays others no more: what is left to it is then taken in growing bunches.
    """

    def __init__(self, front: Accepting, listener: socket.socket, board: LoadBoard, slot: int, entrance: Entrance = OPEN) -> None:
        self._front = front
        self._listener = listener
        self._attach_with = functools.partial(attach, entrance)
        self._rules = entrance.rules if entrance.rules else None
        self._most_attaching = entrance.most_handshakes
        self._board = board
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._attaching: set[asyncio.Task[object]] = set()
        self._stopped = False
        self._late = 1
        """How many connections to take at the end of a wait: more each time that nobody came for them."""

    def start(self) -> None:
        """Begins to accept."""
        self._front.count_changed = self._count
        self._count(self._front.connections)
        self._loop.add_reader(self._listener, self._ready)

    def close(self) -> None:
        """Accepts no more. What waits in the queue is left to the other workers: only this process lets go of the socket."""
        if not self._stopped:
            self._stopped = True
            self._board.withdraw(self._slot)
            self._pause()
            self._listener.close()

    def _count(self, connections: int) -> None:
        if not self._stopped:
            self._board.set(self._slot, connections)

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ready(self) -> None:
        if self._board.others_go_first(self._slot, self._load()):
            self._pause()
            self._timer = self._loop.call_later(_DEFERENCE_S, self._accept_late)
        else:
            self._late = 1
            self._accept()

    def _load(self) -> int:
        return self._front.connections + len(self._attaching)

    def _accept_late(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listener, self._ready)
        for _ in range(self._late):
            if not self._accept():
                self._late = 1
                return
        self._late = min(self._late * 2, _MOST_LATE)

    def _accept(self) -> bool:
        """Takes one connection; whether there may be more."""
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                raise
            # No descriptor or memory is free: trying at once again would only burn time.
            self._pause()
            self._timer = self._loop.call_later(_EXHAUSTED_S, self._accept_late)
            return False
        if len(self._attaching) >= self._most_attaching or (self._rules is not None and not self._rules.admits(peer_name(address))):
            connection.close()
            return True
        connection.setblocking(False)
        task: asyncio.Task[object] = self._loop.create_task(self._attach_with(connection, self._front.new_connection))
        self._attaching.add(task)
        self._count(self._load())
        self._board.expect(self._slot)
        task.add_done_callback(self._attaching.discard)
        return True


async def attach(entrance: Entrance, connection: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
    """Lets a protocol speak on an accepted connection, after the handshake where TLS is spoken. A client that fails at that is let go."""
    loop, certificates = asyncio.get_running_loop(), entrance.certificates
    try:
        if certificates is None:
            await loop.connect_accepted_socket(factory, connection)
        else:
            await loop.connect_accepted_socket(
                factory, connection, ssl=certificates.context, ssl_handshake_timeout=entrance.handshake_seconds
            )
    except (OSError, TimeoutError):
        connection.close()  # it went away between accepting and attaching, or speaks no TLS that is spoken here


def peer_name(address: Any) -> str:
    """The address of a caller as rules and logs have it: without port, ``unix`` for a Unix socket."""
    # A socket for both families names IPv4 clients ``::ffff:192.0.2.1``.
    return str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) else UNIX

"""The HTTP/1.1 front: an asyncio protocol per connection, made for uvloop.

It knows requests, answers, connections and time limits; it knows nothing of paths, keys or models. Everything runs on one event
loop: no task, timer or thread per request. Timeouts are looked at by one sweep over all connections, which also keeps the time
that ``date`` says; both are as coarse as the sweep.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Protocol, cast

from modelyard.core.access import Certificate
from modelyard.core.addresses import Proxies
from modelyard.core.exchange import Abort, Exchange, Handler
from modelyard.server.fronts.connection import Connection
from modelyard.server.fronts.framing import HeadReader
from modelyard.server.fronts.intake import Budget
from modelyard.server.fronts.limits import FrontConfig, Refused
from modelyard.server.fronts.reply import ReplyEncoder

BACKLOG = 2048
"""Connections that may wait to be accepted."""
IN_USE_S = 2.0
"""A connection that was answered this lately is in use."""


class Closable(Protocol):
    """Something that accepts connections, like ``asyncio.Server``."""

    def close(self) -> None:
        """Accepts no more."""


class Http1Front:
    """Carries ``handler`` over HTTP/1.1.

    ``new_connection`` is a protocol factory, for any way of accepting; ``serve`` listens on a socket with it. To end:
    ``stop_accepting``, then ``drain``. All methods belong to the loop's thread.
    """

    def __init__(self, handler: Handler, config: FrontConfig | None = None, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.handler = handler
        self.config = config or FrontConfig()
        self.loop = loop or asyncio.get_running_loop()
        self.reader = HeadReader(self.config)
        self.encoder = ReplyEncoder()
        self.budget = Budget(self.config.max_buffered_bytes)
        self.draining = False
        self.now = 0.0
        """The loop's time at the last sweep."""
        self.shown_by: Callable[[object], Certificate | None] | None = None
        """Reads the client's certificate off a new connection; None where none is asked for."""
        self.proxies: Proxies | None = None
        """Whose word on the client's address is taken; None for nobody's."""
        self.wants_body: Callable[[Exchange], bool] | None = None
        """Asked about the head of a request whose client waits for leave to send the body; None gives it to all."""
        self.count_changed: Callable[[int], None] | None = None
        """Called with the number of connections whenever it changes."""
        self._connections: set[Connection] = set()
        self._acceptors: list[Closable] = []
        self._interval = self.config.sweep_interval()
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def new_connection(self) -> asyncio.Protocol:
        """A protocol for one accepted connection."""
        if self._timer is None:
            self._sweep()
        return cast("asyncio.Protocol", Connection(self))

    async def serve(self, listener: socket.socket) -> None:
        """Accepts from a listening socket that no other process shares; the caller's socket object stays its own."""
        self.accept_from(await self.loop.create_server(self.new_connection, sock=listener.dup(), backlog=BACKLOG))

    def accept_from(self, acceptor: Closable) -> None:
        """Takes over something that makes connections with ``new_connection``, to be closed when accepting ends."""
        self._acceptors.append(acceptor)

    def stop_accepting(self) -> None:
        """Takes no new connections; each answer from now on ends its connection."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()
        self.draining = True
        for connection in self._connections:
            connection.drain()

    def used(self) -> list[Connection]:
        """Connections that requests come over, and whose next answer can still say that it is the last."""
        since = self.now - IN_USE_S
        return [connection for connection in self._connections if connection.in_use(since)]

    async def drain(self, timeout_s: float) -> int:
        """Lets requests under way end, closes what is idle, and cuts off what is left after ``timeout_s``; returns how many requests
        those were.

        Kept connections get ``drain_grace_s`` first: a client that sends its next request in it gets an answer that tells it to
        come back elsewhere, rather than a connection closed under its request.
        """
        self.stop_accepting()
        deadline = self.loop.time() + timeout_s
        for _ in range(3):  # Connections that are accepted already, but not attached to their protocol yet.
            await asyncio.sleep(0)
        await self._wait_empty(min(self.config.drain_grace_s, timeout_s))
        for connection in tuple(self._connections):
            connection.close_idle()
        await self._wait_empty(deadline - self.loop.time())
        cut_off = 0
        for connection in tuple(self._connections):
            cut_off += connection.busy
            connection.kill(Abort.DRAINED)
        await self._wait_empty(1.0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return cut_off

    def joined(self, connection: Connection) -> None:
        """A connection is there; above the limit it is told so and closed. Only for connections."""
        self._connections.add(connection)
        if self.count_changed is not None:
            self.count_changed(len(self._connections))
        over = len(self._connections) - self.config.max_connections
        if over > max(16, self.config.max_connections // 8):
            connection.kill(Abort.DISCONNECTED)  # Even saying no has a limit.
        elif over > 0:
            connection.refuse(Refused(503, "The server has too many connections; try again later."))

    def left(self, connection: Connection) -> None:
        """A connection is gone. Only for connections."""
        self._connections.discard(connection)
        if self.count_changed is not None:
            self.count_changed(len(self._connections))
        if not self._connections and self._empty is not None:
            self._empty.set()

    async def _wait_empty(self, timeout_s: float) -> None:
        if not self._connections or timeout_s <= 0:
            return
        self._empty = asyncio.Event()
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            self._empty = None

    def _sweep(self) -> None:
        self.now = now = self.loop.time()
        self.encoder.set_date(time.time())
        for connection in tuple(self._connections):
            connection.check(now)
        self._timer = self.loop.call_later(self._interval, self._sweep) if self._connections or self._timer is None else None

"""The bytes that a connection has received, taken out as whole requests one at a time.

Of the last request the head is remembered: one that comes again, byte by byte, is not read again.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from modelyard.server.fronts.exchange import Http1Exchange
from modelyard.server.fronts.framing import Body, ChunkedBody, Head, HeadReader, LengthBody
from modelyard.server.fronts.limits import FrontConfig, Refused

if TYPE_CHECKING:
    from modelyard.server.fronts.connection import Connection


_REMEMBERED: Final = 2048
"""Longer heads are read anew each time, rather than kept for each connection."""


class Budget:
    """Bytes of unfinished bodies that all connections of a front hold together."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.limit = limit

    def take(self, size: int) -> None:
        """Counts ``size`` more; raises Refused above the limit."""
        self.held += size
        if self.held > self.limit:
            raise Refused(503, "The server is receiving too much at once; try again later.")


class Intake:
    """Keeps what came and parses nothing ahead: ``take`` gives the next whole request, what follows it stays as bytes."""

    __slots__ = (
        "_at",
        "_body",
        "_budget",
        "_config",
        "_counted",
        "_head",
        "_last",
        "_longest",
        "_reader",
        "_scanned",
        "buffer",
        "pending",
        "wants_continue",
    )

    def __init__(self, config: FrontConfig, reader: HeadReader, budget: Budget) -> None:
        self._config = config
        self._longest = config.max_head_bytes
        self._reader = reader
        self._budget = budget
        self.buffer = b""
        """What was received; empty when all of it is used up."""
        self._at = 0
        self._scanned = 0
        """Up to where the buffer is known to hold no end of a head."""
        self._last = b""
        """The head of the request before, as it came."""
        self._head = Head("", "", "", {}, old=False)
        """What that says."""
        self._body: Body | None = None
        self.pending: Http1Exchange | None = None
        """The request whose body is on its way."""
        self._counted = 0
        self.wants_continue = False
        """The client waits for ``100 Continue`` before it sends the body; reset by whoever sends that."""

    def __len__(self) -> int:
        return len(self.buffer) - self._at

    @property
    def in_body(self) -> bool:
        """Whether a head is read whose body is not whole."""
        return self._body is not None

    @property
    def body_bytes(self) -> int:
        """How much of the unfinished body has come."""
        return self._counted

    def feed(self, data: bytes) -> None:
        """Appends what the transport brought."""
        if self.buffer:
            self.buffer = self.buffer[self._at :] + data
            self._at = 0
        else:
            self.buffer = data

    def clear(self) -> None:
        """Forgets everything and gives the budget back."""
        self.buffer, self._at = b"", 0
        self._drop_body()

    def take(self, connection: Connection) -> Http1Exchange | None:
        """The next whole request, None while it is not whole. Raises Refused."""
        if self._body is not None:
            return self._take_body(self._body)
        buffer, at = self.buffer, self._at
        last = self._last
        if last and buffer.startswith(last, at):
            # The same bytes mean the same, and most clients send the same head again and again.
            end, head = at + len(last), self._head
        else:
            while buffer.startswith(b"\r\n", at):  # Empty lines before a request are allowed (RFC 9112, 2.2).
                at += 2
            end = buffer.find(b"\r\n\r\n", at if at > self._scanned else self._scanned) + 4
            if end == 3 or end - at > self._longest:
                self._check_partial(buffer[at:])
                return None
            self._last = b""
            last = buffer[at:end]
            self._head = head = self._reader.read(last)
            if end - at <= _REMEMBERED:
                self._last = last
        self._scanned = 0
        stop, size = end + head.length, len(buffer)
        if stop > size or head.chunked:
            return self._begin_body(connection, head, end)
        if stop == size:
            self.buffer, self._at = b"", 0
        else:
            self._at = stop
        return Http1Exchange(connection, head, buffer[end:stop], monotonic_ns())

    def _consume(self, stop: int) -> None:
        if stop == len(self.buffer):
            self.buffer, self._at = b"", 0
        else:
            self._at = stop

    def _check_partial(self, partial: bytes) -> None:
        """No whole head yet: may it still become one?"""
        config = self._config
        if len(partial) > config.max_head_bytes:
            if partial.find(b"\r\n", 0, config.max_target_bytes + 32) < 0:
                raise Refused(414, f"The target is longer than {config.max_target_bytes} bytes.")
            raise Refused(431, f"The head of the request is longer than {config.max_head_bytes} bytes.")
        self.buffer, self._at = partial, 0
        self._scanned = max(0, len(partial) - 3)

    def _begin_body(self, connection: Connection, head: Head, end: int) -> Http1Exchange | None:
        self._body = body = ChunkedBody(self._config) if head.chunked else LengthBody(head.length)
        self.pending = Http1Exchange(connection, head, b"", 0)
        self.wants_continue = head.expects_continue and end == len(self.buffer)
        self._consume(end)
        return self._take_body(body)

    def _take_body(self, body: Body) -> Http1Exchange | None:
        self._consume(body.feed(self.buffer, self._at))
        taken = len(body.taken)
        grown, self._counted = taken - self._counted, taken
        self._budget.take(grown)
        exchange = self.pending
        if not body.done or exchange is None:
            return None
        exchange.body = bytes(body.taken)
        exchange.received_ns = monotonic_ns()
        self.wants_continue = False
        self._drop_body()
        return exchange

    def _drop_body(self) -> None:
        self._budget.held -= self._counted
        self._counted = 0
        self._body = self.pending = None

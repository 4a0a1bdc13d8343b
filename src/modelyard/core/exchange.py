"""One request and its one answer, whatever carries them: the seam between fronts and the handler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from mypy_extensions import mypyc_attr

from modelyard.core.access import Certificate

Fields = tuple[tuple[bytes, bytes], ...]
"""Reply headers that do not change, so that a front may cache them in encoded form."""
Headers = Fields | list[tuple[bytes, bytes]]
"""Reply headers, names in lower case. A tuple is a constant that a front may cache in encoded form; a list belongs to one reply."""


class Abort(Enum):
    """Why nobody waits for an answer any more."""

    DISCONNECTED = "the client went away"
    DRAINED = "the server stopped before the answer was ready"
    TIMED_OUT = "the front's own time limit ran out"


@mypyc_attr(allow_interpreted_subclasses=True)
class Exchange(ABC):
    """A request that is whole (head and body read, framing checked) and its answer.

    A front makes one for each request and calls the handler with it, on the event loop. The handler answers once, at once or
    later, always on the same loop: either ``respond`` or ``start``, any number of ``send``, then ``finish``. Answering a second
    time raises RuntimeError. When the client disconnects or a limit of the front runs out first, ``aborted`` is set and
    ``on_abort`` is called once; answers after that are dropped without an error, so that whoever computes need not care.

    Fronts own framing, limits of head and body, timeouts of reading and writing, keep-alive and draining. They add
    ``content-length`` or chunking, ``date`` and ``connection`` to what the handler gives; they send no body for HEAD.
    """

    __slots__ = ("aborted", "body", "headers", "method", "on_abort", "path", "peer", "query", "received_ns", "secure")

    method: str
    """Upper-case method."""
    path: str
    """The target's path, percent-decoded once, but that ``%2F`` and ``%25`` stay escaped (so that decoding a segment is unambiguous);
    begins with a slash, has no dot segments, control characters or backslashes. ``/*`` for the target ``*``."""
    query: str
    """The target's query without its question mark, not decoded; may be empty."""
    headers: Mapping[bytes, bytes]
    """Names in lower case; repeated fields joined by ``, ``."""
    body: bytes
    """The whole body, transfer coding removed, content coding as sent."""
    peer: str
    """The client's address without port, or ``unix``."""
    secure: bool
    """Whether it came over TLS."""
    received_ns: int
    """Monotonic time at which the request was whole."""
    aborted: Abort | None
    on_abort: Callable[[Abort], None] | None

    @property
    def certificate(self) -> Certificate | None:
        """What the client showed in its TLS handshake; None where it showed none, or was not asked."""
        return None

    def inform(self, headers: Fields) -> None:
        """Tells a client that waits how far its call is, ahead of the answer, where the front has a way to say so."""
        del headers

    @abstractmethod
    def respond(  # on every call's path, where keywords cost time
        self,
        status: int,
        headers: Headers,
        body: bytes | Sequence[bytes | memoryview],
        own: Fields = (),
        more: Fields = (),
    ) -> None:
        """Sends the whole answer; a sequence of chunks is sent as one body without joining a caller's buffers twice.

        ``own`` are fields of this answer alone, like its ids: they alone differ between most answers, whoever calls vouches that they
        are printable ASCII, and they are written as they are. ``more`` are fields that many answers share for moments.
        """

    @abstractmethod
    def start(self, status: int, headers: Headers) -> None:
        """Begins an answer whose body comes in pieces."""

    @abstractmethod
    def send(self, chunk: bytes) -> None:
        """One piece of a begun answer; kept until the client takes it."""

    @abstractmethod
    async def drain(self) -> None:
        """Waits until the client has taken most of what was sent; returns at once when it went away."""

    @abstractmethod
    def finish(self) -> None:
        """Ends a begun answer."""


Handler = Callable[[Exchange], None]
"""What a front calls with each exchange. It never raises and never blocks."""

"""The HTTP/1.1 front's exchange: one request of a connection and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from modelyard.core.access import Certificate
from modelyard.core.exchange import Abort, Exchange, Fields, Headers
from modelyard.server.fronts.framing import Head
from modelyard.server.fronts.reply import BODILESS

if TYPE_CHECKING:
    from modelyard.server.fronts.connection import Connection

_JOIN_BYTES: Final = 128 * 1024
"""Up to this size head and body go out as one buffer; above, copying costs more than a second buffer."""


class Answer(IntEnum):
    """How far the answer of an exchange has come."""

    OPEN = 0  # nothing was sent
    STARTED = 1  # the head was sent, pieces may follow
    DONE = 2  # answered
    ABORTED = 3  # nobody waits for it


_OPEN: Final = Answer.OPEN
_STARTED: Final = Answer.STARTED
_DONE: Final = Answer.DONE
_ABORTED: Final = Answer.ABORTED


class Http1Exchange(Exchange):
    """See ``Exchange``.

    ``persistent`` and ``old`` (HTTP/1.0) say how the answer must be framed.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_connection",
        "answer",
        "old",
        "persistent",
    )

    def __init__(self, connection: Connection, head: Head, body: bytes, received_ns: int) -> None:
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.persistent = head.persistent
        self.old = head.old
        self.body = body
        self.received_ns = received_ns
        self.peer = connection.peer
        self.secure = connection.secure
        self.aborted = None
        self.on_abort = None
        self.answer = _OPEN
        self._connection = connection

    @property
    def certificate(self) -> Certificate | None:
        return self._connection.certificate

    def inform(self, headers: Fields) -> None:
        """As an interim answer of status 102, which only clients of HTTP/1.1 understand."""
        if self.answer is _OPEN and not self.old:
            self._connection.write(b"HTTP/1.1 102 Processing\r\n%b\r\n" % self._connection.encoder.fields(headers))

    def respond(  # on every call's path, where keywords cost time
        self,
        status: int,
        headers: Headers,
        body: bytes | Sequence[bytes | memoryview],
        own: Fields = (),
        more: Fields = (),
    ) -> None:
        if self.answer is not _OPEN:
            self._refuse_second()
            return
        connection = self._connection
        encoder = connection.encoder
        head = encoder.head(status, headers)
        if not self.persistent or connection.draining:
            self.persistent = False
            tail = encoder.close_tail
        else:
            tail = encoder.old_keep_tail if self.old else encoder.keep_tail
        self.answer = _DONE
        parts = [head]
        for name, value in own:
            parts += (name, b": ", value, b"\r\n")
        if more:
            parts.append(encoder.fields(more))
        parts.append(tail)
        if type(body) is bytes and self.method != "HEAD" and status not in BODILESS and len(body) < _JOIN_BYTES:
            parts += (str(len(body)).encode(), b"\r\n\r\n", body)
            connection.write(b"".join(parts))
        else:
            self._respond_parts(status, b"".join(parts), body)
        connection.answered(self)

    def _respond_parts(self, status: int, head: bytes, body: bytes | Sequence[bytes | memoryview]) -> None:
        chunks = (body,) if isinstance(body, bytes) else body
        size = sum(chunk.nbytes if isinstance(chunk, memoryview) else len(chunk) for chunk in chunks)
        if status in BODILESS:
            # The tail ends with the name of the length field, which these statuses must not (204) or need not (304) have.
            self._connection.write(head[: -len(b"content-length: ")] + b"\r\n")
            return
        head = b"%b%d\r\n\r\n" % (head, size)
        if self.method == "HEAD":
            self._connection.write(head)
        elif size < _JOIN_BYTES:
            self._connection.write(b"".join((head, *chunks)))
        else:
            self._connection.write_parts([head, *chunks])

    def start(self, status: int, headers: Headers) -> None:
        if self.answer is not _OPEN:
            self._refuse_second()
            return
        connection = self._connection
        head = connection.encoder.head(status, headers)
        self._bodiless = self.method == "HEAD" or status in BODILESS
        self._chunked = not self.old
        if connection.draining or (self.old and not self._bodiless):
            self.persistent = False  # On HTTP/1.0 the end of the connection is the end of the body.
        coding = b"transfer-encoding: chunked\r\n\r\n" if self._chunked and status not in BODILESS else b"\r\n"
        if self.persistent:
            tail = b"connection: keep-alive\r\n" + connection.encoder.keep_unsized if self.old else connection.encoder.keep_unsized
        else:
            tail = connection.encoder.close_unsized
        self.answer = _STARTED
        connection.write(head + tail + coding)

    def send(self, chunk: bytes) -> None:
        if self.answer is _ABORTED:
            return
        if self.answer is not _STARTED:
            raise RuntimeError("A piece of an answer that is not begun, or is finished already.")
        if chunk and not self._bodiless:
            if self._chunked:
                self._connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            else:
                self._connection.write(chunk)

    async def drain(self) -> None:
        if self.answer is not _ABORTED:
            await self._connection.wait_writable()

    def finish(self) -> None:
        if self.answer is _ABORTED:
            return
        if self.answer is not _STARTED:
            raise RuntimeError("The end of an answer that is not begun, or is finished already.")
        self.answer = _DONE
        if self._chunked and not self._bodiless:
            self._connection.write(b"0\r\n\r\n")
        self._connection.answered(self)

    def abort(self, reason: Abort) -> None:
        """Tells whoever computes that nobody waits; later answers are dropped. Only for the connection."""
        self.answer = _ABORTED
        self.aborted = reason
        callback, self.on_abort = self.on_abort, None
        if callback is not None:
            # In a turn of its own: an error in it is the loop's to report and cannot harm the connection.
            self._connection.loop.call_soon(callback, reason)

    def _refuse_second(self) -> None:
        if self.answer is not _ABORTED:
            raise RuntimeError("This request has been answered already.")

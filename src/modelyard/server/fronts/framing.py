"""Request heads and bodies on the wire (RFC 9112), read strictly: what could be read in two ways is refused.

httptools checks the grammar of a head; this module refuses what it lets through (measured with 0.9): a missing or repeated Host,
chunked on HTTP/1.0, ``gzip, chunked``, two spaces in the request line, HTTP/0.9 and /2.0, RTSP and ICE, Upgrade, CONNECT. It is
given one head and nothing after it, so it can neither run into the next request nor stop with a body unread: where a body ends
is decided here alone. A parser lives for one head.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools

from modelyard.server.fronts.limits import FrontConfig, Refused
from modelyard.server.fronts.lines import KnownLines
from modelyard.server.fronts.target import split_target

METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_HOST: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_~:[]%!$&'()*+;="
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) \S+ HTTP/(\d)\.(\d)")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_UNUSUAL: Final = frozenset({b"connection", b"expect", b"transfer-encoding"})
"""Fields of a head that change how the request is framed, or what becomes of the connection, from what is usual."""
_CHUNK_LINE_BYTES: Final = 1024
_CHUNK_OVERHEAD: Final = 256 * 1024


class _Parser(Protocol):
    """The part of httptools.HttpRequestParser (untyped) that is used."""

    def feed_data(self, data: bytes, /) -> None: ...
    def get_method(self) -> bytes: ...


_new_parser: Final = cast("Callable[[HeadReader], _Parser]", httptools.HttpRequestParser)


class Head:
    """What the head of a request says. Requests that begin with the same bytes share it, so nothing in it is changed."""

    __slots__ = ("chunked", "expects_continue", "headers", "length", "method", "old", "path", "persistent", "query")

    def __init__(self, method: str, path: str, query: str, headers: dict[bytes, bytes], *, old: bool) -> None:
        self.method, self.path, self.query, self.headers = method, path, query, headers
        self.old = old
        """HTTP/1.0: no chunked answers, and kept connections are told so."""
        self.persistent = not old
        """Whether the client keeps the connection after the answer."""
        self.length = 0
        """Of the body, from Content-Length; 0 without one."""
        self.chunked = self.expects_continue = False


class HeadReader:
    """Reads heads. One reader serves all connections of a front, because reading a head is one synchronous step."""

    __slots__ = ("_config", "_headers", "_lines", "_repeated", "_target")

    def __init__(self, config: FrontConfig) -> None:
        self._config = config
        self._target = b""
        self._repeated = 0
        self._headers: dict[bytes, bytes] = {}
        self._lines = KnownLines()

    def on_url(self, url: bytes) -> None:
        """For httptools: the target, whole because the head is given whole."""
        if self._target:
            raise Refused(400, "A second request line stands inside the head.")
        self._target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """For httptools: one field; it leaves white space after the value."""
        headers, name = self._headers, name.lower()
        if name in headers:
            self._repeated += 1
            headers[name] += b", " + value.rstrip(b" \t")
        else:
            headers[name] = value.rstrip(b" \t")

    def read(self, head: bytes) -> Head:
        """Reads a head that ends with its empty line. Raises Refused."""
        headers = self._lines.read(head)
        if headers is None:
            return self._read_anew(head)
        form = self._lines.form
        method, path, query = form.opening
        found = Head(METHODS[method], path, query, headers, old=False)
        if form.framed:
            found.length, found.persistent = form.length, form.persistent
            return found
        if b"host" not in headers or len(headers) > self._config.max_headers:
            return self._read_anew(head)
        self._read_framing(found)
        if form.frames_alike and not found.chunked and not found.expects_continue:
            form.framed, form.length, form.persistent = True, found.length, found.persistent
        return found

    def _read_anew(self, head: bytes) -> Head:
        self._target, self._repeated = b"", 0
        headers: dict[bytes, bytes] = {}
        self._headers = headers
        parser = _new_parser(self)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # The head was read; whether to go on is decided below.
        except httptools.HttpParserError as error:
            raise _refusal(head, error) from None
        method, target, config = parser.get_method(), self._target, self._config
        old = not head.startswith(b"%b %b HTTP/1.1\r\n" % (method, target))
        if old and not head.startswith(b"%b %b HTTP/1.0\r\n" % (method, target)):
            raise _bad_line(head[: head.find(b"\r\n")])
        if len(target) > config.max_target_bytes:
            raise Refused(414, f"The target is longer than {config.max_target_bytes} bytes.")
        if method not in METHODS:
            raise Refused(501, f"The method {method.decode()} is not supported.")
        if len(headers) + self._repeated > config.max_headers:
            raise Refused(431, f"The request has more than {config.max_headers} header fields.")
        host = headers.get(b"host")
        if (host is None and not old) or (host and host.translate(None, _HOST)):
            raise Refused(400, "The request must have exactly one Host header, with a host and perhaps a port.")
        path, query = split_target(target, METHODS[method], host)
        found = Head(METHODS[method], path, query, headers, old=old)
        self._read_framing(found)
        if not old and not self._repeated and target.startswith(b"/"):
            self._lines.learn(head, (method, path, query), headers)
        return found

    @staticmethod
    def _keeps(head: Head, connection: bytes) -> bool:
        options = {option.strip(b" \t") for option in connection.lower().split(b",")}
        # h2c is offered by some clients (Java's) with each request and may be ignored; anything else wants a protocol we do not speak.
        if b"upgrade" in options and head.headers.get(b"upgrade", b"").lower() != b"h2c":
            raise Refused(501, "No protocol but HTTP/1.1 is spoken here; send the request without Upgrade.")
        return b"close" not in options and (not head.old or b"keep-alive" in options)

    def _read_framing(self, head: Head) -> None:
        headers = head.headers
        length = headers.get(b"content-length")
        if not _UNUSUAL.isdisjoint(headers):
            self._read_unusual(head, length)
        if length is not None:
            if not length.isdigit() or len(length) > 18:
                raise Refused(400, "Content-Length must be a plain decimal number.")
            head.length = int(length)
            if head.length > self._config.max_body_bytes:
                raise Refused(413, f"The body is larger than {self._config.max_body_bytes} bytes.")

    def _read_unusual(self, head: Head, length: bytes | None) -> None:
        """What most heads leave to the defaults."""
        headers = head.headers
        connection = headers.get(b"connection")
        if connection is not None:
            head.persistent = self._keeps(head, connection)
        expectation = headers.get(b"expect")
        if expectation is not None and not head.old:
            if expectation.lower() != b"100-continue":
                raise Refused(417, "The only expectation that can be met is 100-continue.")
            head.expects_continue = True
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            if head.old or length is not None:
                raise Refused(400, "Transfer-Encoding goes neither with HTTP/1.0 nor with Content-Length.")
            if coding.lower() != b"chunked":
                raise Refused(501, "The only transfer coding that is understood is chunked.")
            head.chunked = True


def _refusal(head: bytes, error: Exception) -> Refused:
    refused = error.__context__
    if isinstance(refused, Refused):
        return refused
    line = head[: head.find(b"\r\n")]
    if isinstance(error, httptools.HttpParserInvalidMethodError) or not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        return _bad_line(line)
    return Refused(400, f"The head of the request is not valid HTTP/1.1: {error}.")


def _bad_line(line: bytes) -> Refused:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        return Refused(400, "The request line must be 'METHOD target HTTP/1.1', with single spaces.")
    if (found[2], found[3]) not in {(b"1", b"0"), (b"1", b"1")}:
        return Refused(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    return Refused(501, "The method is not supported; methods are in upper case.")


class LengthBody:
    """A body of a known number of bytes."""

    __slots__ = ("done", "left", "taken")

    def __init__(self, length: int) -> None:
        self.taken = bytearray()
        self.left = length
        self.done = False

    def feed(self, data: bytes, at: int) -> int:
        """Takes what belongs to the body from ``data[at:]``; returns where the rest begins."""
        stop = min(len(data), at + self.left)
        self.taken += memoryview(data)[at:stop]
        self.left -= stop - at
        self.done = not self.left
        return stop


class ChunkedBody:
    """A chunked body: extensions are skipped, trailers dropped, both within limits. ``feed`` raises Refused."""

    __slots__ = ("_left", "_limit", "_overhead", "_partial", "_step", "_trailer_limit", "done", "taken")

    def __init__(self, config: FrontConfig) -> None:
        self.taken = bytearray()
        self.done = False
        self._limit = config.max_body_bytes
        self._trailer_limit = config.max_head_bytes
        self._partial = b""
        self._left = 0
        self._overhead = 0
        self._step = self._size

    def feed(self, data: bytes, at: int) -> int:
        """Takes what belongs to the body from ``data[at:]``; returns where the rest begins."""
        stop = len(data)
        while at < stop and not self.done:
            if self._left:
                upto = min(stop, at + self._left)
                self.taken += memoryview(data)[at:upto]
                self._left -= upto - at
                at = upto
            else:
                at = self._line(data, at)
        return at

    def _line(self, data: bytes, at: int) -> int:
        """Completes a line, which may have begun in an earlier piece, and takes the step that it is for."""
        end = data.find(b"\n", at, at + _CHUNK_LINE_BYTES)
        upto = end + 1 if end >= 0 else min(len(data), at + _CHUNK_LINE_BYTES)
        line = self._partial + data[at:upto]
        if len(line) > _CHUNK_LINE_BYTES:
            raise Refused(400, f"A line of the chunked body is longer than {_CHUNK_LINE_BYTES} bytes.")
        # Framing may not outweigh the data by much: it would be all work and no body.
        self._overhead += upto - at
        if self._overhead > _CHUNK_OVERHEAD + len(self.taken):
            raise Refused(400, "The chunks of the body are too small; send larger ones.")
        if end < 0:
            self._partial = line
            return upto
        self._partial = b""
        if not line.endswith(b"\r\n"):
            raise Refused(400, "A line of the chunked body ends without CR LF.")
        self._step(line[:-2])
        return upto

    def _size(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise Refused(400, "A chunk of the body does not begin with its size in hexadecimal.")
        self._left = int(found[1], 16)
        if len(self.taken) + self._left > self._limit:
            raise Refused(413, f"The body is larger than {self._limit} bytes.")
        self._step = self._data_end if self._left else self._trailer
        if not self._left:
            self._overhead = 0

    def _data_end(self, line: bytes) -> None:
        if line:
            raise Refused(400, "A chunk of the body is longer than it says.")
        self._step = self._size

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
        elif not _TRAILER_LINE.fullmatch(line):
            raise Refused(400, "A trailer after the chunked body is malformed.")
        elif self._overhead > self._trailer_limit:
            raise Refused(431, f"The trailers are longer than {self._trailer_limit} bytes.")


Body = LengthBody | ChunkedBody

"""Answer heads as bytes; constant ones are encoded once."""

from __future__ import annotations

import json
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from modelyard.core.exchange import Fields, Headers

BODILESS: Final = frozenset({204, 304})
"""Statuses whose answer has no body."""
OWN_HEADERS: Final = frozenset({b"connection", b"content-length", b"date", b"transfer-encoding", b"keep-alive", b"upgrade", b"trailer"})
"""Fields that only the front sets."""
_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus if status >= 200
}
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_CONSTANTS: Final = 512
_JSON: Final[Headers] = ((b"content-type", b"application/json"),)


class ReplyEncoder:
    """Encodes answer heads; one for all connections of a front.

    An answer is ``head`` + one of the tails + what the tail asks for: a length and an empty line.
    """

    __slots__ = (
        "_shared",
        "_shared_encoded",
        "close_tail",
        "close_unsized",
        "constants",
        "keep_tail",
        "keep_unsized",
        "names",
        "old_keep_tail",
    )

    def __init__(self) -> None:
        self.names: set[bytes] = set()
        """Names of fields that were found good; few, because answers are ours."""
        self.constants: dict[tuple[int, Headers], bytes] = {}
        """Heads by status and constant headers."""
        self._shared: Fields = ()
        self._shared_encoded = b""
        self.set_date(0)

    def set_date(self, seconds: float) -> None:
        """Says what ``date`` answers carry from now on."""
        date = b"date: %b\r\n" % formatdate(seconds, usegmt=True).encode()
        self.keep_unsized = date
        self.close_unsized = b"connection: close\r\n" + date
        self.keep_tail = date + b"content-length: "
        self.close_tail = self.close_unsized + b"content-length: "
        self.old_keep_tail = b"connection: keep-alive\r\n" + self.keep_tail

    def head(self, status: int, headers: Headers) -> bytes:
        """Status line and fields. Raises ValueError for fields that are the front's own or would break the framing."""
        if type(headers) is tuple:
            known = self.constants.get((status, headers))
            if known is not None:
                return known
        line = _STATUS_LINES.get(status)
        if line is None:
            if not 200 <= status <= 599:
                raise ValueError(f"{status} is not the status of an answer.")
            line = b"HTTP/1.1 %d -\r\n" % status
        encoded = line + self._encode(headers)
        if type(headers) is tuple:
            if len(self.constants) >= _CONSTANTS:
                self.constants.clear()
            self.constants[status, headers] = encoded
        return encoded

    def fields(self, headers: Fields) -> bytes:
        """Fields that answers share for moments: the last ones are kept. Raises ValueError as ``head`` does."""
        if headers is not self._shared:
            self._shared_encoded = self._encode(headers)
            self._shared = headers
        return self._shared_encoded

    def _encode(self, headers: Headers) -> bytes:
        encoded = b"".join([b"%b: %b\r\n" % field for field in headers])
        lines = len(headers)
        if encoded.count(b"\n") != lines or encoded.count(b"\r") != lines or b"\0" in encoded:
            raise ValueError(f"A header of the answer contains a line break or NUL: {headers!r}.")
        for name, _ in headers:
            if name not in self.names:
                if name in OWN_HEADERS or not name or name.translate(None, _TOKEN):
                    raise ValueError(f"The header {name!r} is set by the front, or is no lower-case header name.")
                if len(self.names) < _CONSTANTS:
                    self.names.add(name)
        return encoded

    def refusal(self, status: int, message: str, request_id: str, *, with_body: bool = True) -> bytes:
        """A whole answer of the front's own, after which the connection closes."""
        body = refusal_body(message)
        fields = [*_JSON, (b"x-request-id", request_id.encode())]
        head = b"%b%b%d\r\n\r\n" % (self.head(status, fields), self.close_tail, len(body))
        return head + body if with_body else head


def refusal_body(message: str) -> bytes:
    """The body of an answer that a front gives by itself."""
    return json.dumps({"error": message}, ensure_ascii=True).encode()

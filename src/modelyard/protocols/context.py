"""What a request's headers say about it beside its content: a deadline, the trace that it is part of, the page that it comes from.

Most requests say nothing of this, and then nothing is made.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from random import getrandbits
from typing import Final, Protocol

from modelyard.core.errors import InvalidRequest

_LENGTH: Final = 55
_HYPHEN: Final = 45
_HEXADECIMAL: Final = b"0123456789abcdef"
"""Of a ``traceparent``: two digits of a version, 32 of a trace, 16 of a span and two of flags, with hyphens between them."""
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_ODD: Final = b"13579bdf"
_TIMEOUT: Final = re.compile(rb"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s)?")
_GRPC_UNITS: Final = {b"n": 1, b"u": 1_000, b"m": 1_000_000, b"S": 1_000_000_000, b"M": 60_000_000_000, b"H": 3600_000_000_000}


class Waited(Protocol):
    """A wait that the answer tells of; see ``starting.Start``."""

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Its headers."""


class Context:
    """Of one call."""

    __slots__ = ("deadline_ns", "headers", "origin", "parent", "sampled", "span", "start", "told", "trace")

    def __init__(self) -> None:
        self.deadline_ns = 0
        """Monotonic time after which the caller does not wait any more; 0 for none."""
        self.origin = ""
        self.trace = ""
        """Id of the trace, 32 hexadecimal digits; empty when the caller sent none."""
        self.parent = ""
        """The caller's span."""
        self.span = ""
        """Ours."""
        self.sampled = False
        self.told = b""
        """Of trace and span, what the answer says in ``traceresponse``."""
        self.headers: list[tuple[bytes, bytes]] = []
        """What the answer carries for the page."""
        self.start: Waited | None = None
        """The start of a replica that the call waits for."""

    def sooner(self, deadline_ns: int) -> int:
        """The earlier of two deadlines, where 0 is none."""
        return min(deadline_ns, self.deadline_ns) if deadline_ns and self.deadline_ns else deadline_ns or self.deadline_ns


def read_context(headers: Mapping[bytes, bytes], received_ns: int) -> Context:
    """The context of a request that has one of these headers. Raises InvalidRequest for a timeout that is none."""
    context = Context()
    traceparent = headers.get(b"traceparent")
    if traceparent is not None:
        _read_trace(context, traceparent)
    origin = headers.get(b"origin")
    if origin is not None:
        context.origin = origin.decode("latin-1")
    timeout = headers.get(b"x-request-timeout")
    if timeout is not None:
        context.deadline_ns = received_ns + _timeout_ns(timeout)
    waits = headers.get(b"grpc-timeout")
    if waits is not None:
        context.deadline_ns = context.sooner(received_ns + int(waits[:-1]) * _GRPC_UNITS[waits[-1:]])
    return context


def _read_trace(context: Context, value: bytes) -> None:
    """Malformed ones are ignored, as W3C's Trace Context says; so are fields that a later version adds."""
    if len(value) != _LENGTH:
        # A later version may say more behind a fifth hyphen; it is read as far as this one goes.
        if len(value) < _LENGTH or value[_LENGTH] != _HYPHEN or value[:2] == b"00":
            return
        value = value[:_LENGTH]
    trace, parent = value[3:35], value[36:52]
    if value.translate(None, _HEXADECIMAL) != b"---" or not value[2] == value[35] == value[52] == _HYPHEN:
        return
    if value[:2] == b"ff" or trace == _NO_TRACE or parent == _NO_SPAN:
        return
    context.trace, context.parent = trace.decode(), parent.decode()
    context.sampled = value[54] in _ODD
    # Unlike others' is enough: it protects nothing, and asking the system costs a call more.
    context.span = span = (getrandbits(64) or 1).to_bytes(8, "big").hex()
    context.told = b"".join((b"00-", trace, b"-", span.encode(), b"-01" if context.sampled else b"-00"))


def _timeout_ns(value: bytes) -> int:
    found = _TIMEOUT.fullmatch(value.strip())
    nanoseconds = int(float(found[1]) * (1e6 if found[2] == b"ms" else 1e9)) if found is not None else 0
    if nanoseconds <= 0:
        shown = value[:32].decode("latin-1")
        raise InvalidRequest(f"X-Request-Timeout is {shown!r}; write how long the caller waits, in seconds like 2.5, or like 250ms.")
    return nanoseconds


def has_passed(deadline_ns: int) -> bool:
    """Whether a deadline is there and over."""
    return 0 < deadline_ns <= time.monotonic_ns()

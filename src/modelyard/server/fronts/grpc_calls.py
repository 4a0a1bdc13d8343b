"""How exchanges stand in gRPC's terms: metadata as headers, answers as statuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

import grpc

from modelyard.core.exchange import Headers

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_OWN = frozenset({"accept-encoding", "content-encoding", "grpc-timeout"})
"""Metadata that would mean HTTP's content coding, or that stands for what gRPC says itself."""
_TRAILING = frozenset({b"x-request-id", b"x-modelyard-request-id", b"retry-after"})
_FOREVER_S = 1e6

Answer = tuple[Headers, bytes]
"""Headers, with ``grpc-status`` and ``grpc-message`` among them for an error, and the message."""
TIMED_OUT: Answer = (((b"grpc-status", b"4"), (b"grpc-message", b"The call took longer than the server allows.")), b"")
TOO_MANY: Answer = (((b"grpc-status", b"8"), (b"grpc-message", b"The server has too many streams; try again later.")), b"")
FORBIDDEN: Answer = (((b"grpc-status", b"7"), (b"grpc-message", b"Calls from this network are not admitted.")), b"")
IDLE: Answer = (((b"grpc-status", b"4"), (b"grpc-message", b"The stream was idle for too long.")), b"")


class Context(Protocol):
    """What the front uses of ``grpc.ServicerContext``."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]: ...
    def time_remaining(self) -> float | None: ...
    def peer(self) -> str: ...
    def auth_context(self) -> Mapping[str, Iterable[bytes]]: ...
    def add_callback(self, callback: Callable[[], None]) -> bool: ...
    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None: ...
    def abort(self, code: Any, details: str) -> None: ...


def read_metadata(context: Context, longest_s: float) -> tuple[dict[bytes, bytes], float]:
    """Metadata as headers, with ``grpc-timeout`` as on the wire where the client gave a deadline; and how long to wait."""
    headers: dict[bytes, bytes] = {}
    for name, value in context.invocation_metadata():
        if isinstance(value, bytes) or name in _OWN:
            continue
        key, text = name.encode(), value.encode("latin-1", "replace")
        headers[key] = headers[key] + b", " + text if key in headers else text
    remaining = context.time_remaining()
    if remaining is None or remaining > _FOREVER_S:
        return headers, longest_s
    headers[b"grpc-timeout"] = b"%du" % max(1, int(remaining * 1e6))
    return headers, min(longest_s, remaining)


def conclude(answer: Answer, context: Context) -> bytes:
    """The message of an answer; ends the call instead when it is an error."""
    code, details = 0, ""
    trailing: tuple[tuple[str, str], ...] = ()
    for name, value in answer[0]:
        if name in _TRAILING:
            trailing = (*trailing, (name.decode(), value.decode("latin-1")))
        elif name == b"grpc-status":
            code = int(value)
        elif name == b"grpc-message":
            details = unquote(value.decode())
    context.set_trailing_metadata(trailing)
    if code:
        context.abort(_CODES[code], details)
    return answer[1]

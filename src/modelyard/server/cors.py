"""Calls from pages of other origins (CORS), for deployments whose policy declares origins; of others nothing is said."""

from __future__ import annotations

from modelyard.core.exchange import Headers
from modelyard.gate.openness import Openness
from modelyard.protocols.context import Context
from modelyard.protocols.routing import RouteTable

_SENT = b"authorization, x-api-key, content-type, content-encoding, x-request-id, x-request-timeout, traceparent, tracestate, if-none-match"
_COUNTED = ("requests", "rows", "tokens-in", "tokens-out")
_LIMITS = [f"x-ratelimit-{what}-{measure}" for measure in _COUNTED for what in ("limit", "remaining", "reset")]
_READ = ", ".join(["x-request-id", "x-modelyard-request-id", "traceresponse", "retry-after", "etag", *_LIMITS]).encode()


def preflight(table: RouteTable, openness: Openness, path: str, method: str, origin: str) -> Headers | None:
    """Headers of the answer to the question whether ``origin`` may call ``method`` on ``path``; None when nothing may be said.

    A preflight carries no key, so it is answered alike for every deployment that allows the origin, and as any call without a
    key is answered for every other one, whether it exists or not.
    """
    _, route, params, _ = table.find(method, path)
    cors = openness.preflight(params.get("name", ""), origin) if route is not None else None
    if cors is None:
        return None
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-methods", method.encode()),
        (b"access-control-allow-headers", _SENT),
        (b"access-control-max-age", b"%d" % cors.max_age_seconds),
        (b"vary", b"origin"),
    ]


def let_read(context: Context) -> None:
    """Lets the page read the answer."""
    context.headers += [
        (b"access-control-allow-origin", context.origin.encode("latin-1")),
        (b"access-control-expose-headers", _READ),
        (b"vary", b"origin"),
    ]

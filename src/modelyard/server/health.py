"""Health of a worker: the only routes that need no key."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from modelyard.core.errors import ModelyardError, Unavailable
from modelyard.core.usage import ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.routing import Protocol, Reply, Route

_JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_OK = b'{"status":"ok"}'


def health_protocol(ready: Callable[[], str]) -> Protocol:
    """``/livez``: this process answers. ``/readyz``: it accepts calls and has its snapshot; ``ready`` says why not, or nothing."""

    def livez(call: Call) -> None:
        call.reply(200, _JSON, _OK)

    def readyz(call: Call) -> None:
        reason = ready()
        if reason:
            raise Unavailable(reason, retry_after=1.0)
        call.reply(200, _JSON, _OK)

    routes = (Route("GET", "/livez", None, livez), Route("GET", "/readyz", None, readyz))
    return Protocol("health", ProtocolId.OTHER, routes, _error)


def _error(error: ModelyardError) -> Reply:
    status = 503 if isinstance(error, Unavailable) else 500
    return status, _JSON, msgspec.json.encode({"error": {"code": error.code, "message": error.message}})

"""Around every request: its id, one line in the access log, and the last net under a defect."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.control.errors import error_response
from modelyard.core.errors import Internal

access_log = logging.getLogger("modelyard.control.access")
log = logging.getLogger("modelyard.control")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")


class Envelope:
    """ASGI middleware. A caller's ``x-request-id`` is kept when it is well formed, and is in every answer, audit row and log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:  # the edge of a request: told to the log, never to the caller
            log.exception("request failed", extra={"request_id": request_id})
            if status:
                raise  # the answer has begun; the server can only cut it off
            problem = Internal(f"The server failed at this request; its log has the reason under request id {request_id}.")
            await error_response(problem)(scope, receive, sending)
        finally:
            line = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "duration_us": round((time.monotonic() - started) * 1e6),
                "peer": scope["client"][0] if scope.get("client") else "",
                "request_id": request_id,
            }
            access_log.info("request", extra=line)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex

"""Before any route: a key, and a bound on the body. What a route forgets to ask for is refused here."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.control.access import identify
from modelyard.control.errors import error_response
from modelyard.control.refusals import record_refusal
from modelyard.core.errors import ModelyardError, TooLarge
from modelyard.gate.authenticate import WrongNetwork

PUBLIC = frozenset({"/livez", "/readyz"})
"""Paths that answer without a key."""
SIGN_IN = "/api/v1/sign-in"
"""At and below it, people without a key become somebody."""
STREAMED = frozenset({("PUT", "/api/v1/uploads"), ("POST", "/api/v1/datasets")})
"""Calls whose body goes to the blob store as it arrives, under a limit of its own."""
MAX_DOCUMENT_BYTES = 8 << 20


class Guard:
    """ASGI middleware. Nothing of a body is read, and no route is looked for, before the caller is known."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PUBLIC:
            await self._app(scope, receive, send)
            return
        if scope["path"] == SIGN_IN or scope["path"].startswith(SIGN_IN + "/"):
            await self._app(scope, _bounded(receive), send)
            return
        request = Request(scope)
        try:
            request.state.caller = await run_in_threadpool(identify, request)
            streamed = (scope["method"], scope["path"]) in STREAMED
            if not streamed:
                _check_declared(request)
        except ModelyardError as error:
            if isinstance(error, WrongNetwork):
                record_refusal(request, error)
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive if streamed else _bounded(receive), send)


def _check_declared(request: Request) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_DOCUMENT_BYTES:
        raise TooLarge(_too_large())


def _bounded(receive: Receive) -> Receive:
    """The same messages, until a body that did not say its size is over the limit."""
    size = 0

    async def receiving() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_DOCUMENT_BYTES:
            # The one kind of error that FastAPI lets through from the reading of a body.
            raise HTTPException(413, _too_large())
        return message

    return receiving


def _too_large() -> str:
    return f"The body is over the limit of {MAX_DOCUMENT_BYTES} bytes for documents; send files through PUT /api/v1/uploads."

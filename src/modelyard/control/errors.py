"""Errors of the management API: one body, and no detail of a defect in it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from modelyard.control.refusals import record_refusal
from modelyard.core.api import ErrorBody, ErrorDetail
from modelyard.core.errors import (
    Internal,
    InvalidRequest,
    ModelyardError,
    NotFound,
    PermissionDenied,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from modelyard.core.http_status import HTTP_STATUS

log = logging.getLogger("modelyard.control")

_FROM_STATUS: dict[int, type[ModelyardError]] = {401: Unauthenticated, 404: NotFound, 413: TooLarge, 503: Unavailable}


def error_response(error: ModelyardError) -> Response:
    """The answer that tells of ``error``."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    detail = ErrorDetail(code=error.code, message=error.message, retry_after=error.retry_after)
    body = msgspec.json.encode(ErrorBody(error=detail))
    return Response(body, HTTP_STATUS.get(error.code, 500), headers, media_type="application/json")


def install(app: FastAPI) -> None:
    """Makes every error of ``app`` come out in our form."""

    async def expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, ModelyardError)
        if isinstance(error, PermissionDenied):
            record_refusal(request, error)
        if isinstance(error, Internal):
            log.error("internal error", exc_info=error)
        return error_response(error)

    async def malformed(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return error_response(InvalidRequest(sentence(error.errors())))

    async def routed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = error_response(_of_routing(request, error))
        response.status_code = error.status_code
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        ModelyardError: expected,
        RequestValidationError: malformed,
        HTTPException: routed,
        ClientDisconnect: gone,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _of_routing(request: Request, error: HTTPException) -> ModelyardError:
    if error.status_code == 404:
        return NotFound(f"There is nothing at {request.url.path}; GET /api/v1/openapi.json lists what there is.")
    if error.status_code == 405:
        return Unsupported(f"{request.method} is not something that {request.url.path} does; GET /api/v1/openapi.json lists what it does.")
    return _FROM_STATUS.get(error.status_code, InvalidRequest)(str(error.detail))


def sentence(problems: Sequence[Any]) -> str:
    """One readable sentence from the problems that validation found: the first, and how many more there are."""
    first = problems[0]
    place = [str(part) for part in first["loc"]]
    kind = first["type"]
    where = ".".join(place[1:]) or "the body"
    subject = where if where == "the body" else f"{_PLACES.get(place[0], 'field')} {where!r}"
    if kind == "json_invalid":
        text = f"The body is not valid JSON: {first.get('ctx', {}).get('error', 'it cannot be read')}."
    elif kind == "missing":
        text = f"{_capital(subject)} is missing."
    elif kind == "extra_forbidden":
        text = f"{_capital(subject)} is not known here; check its spelling."
    else:
        text = f"{_capital(subject)}: {_reason(first['msg'])}."
    more = len(problems) - 1
    return text + (f" ({more} more problem{'s' if more > 1 else ''} in this request.)" if more else "")


_PLACES = {"query": "parameter", "path": "path part", "header": "header"}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _reason(message: str) -> str:
    reason = message.removeprefix("Value error, ").rstrip(".")
    return reason[:1].lower() + reason[1:]

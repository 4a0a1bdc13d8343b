"""Errors as the messages API says them: one table from our codes to its statuses and types."""

from __future__ import annotations

import orjson

from modelyard.core.errors import ModelyardError
from modelyard.protocols.routing import Reply

JSON = ((b"content-type", b"application/json"),)
STATUS: dict[str, tuple[int, str]] = {
    "error": (500, "api_error"),
    "invalid_request": (400, "invalid_request_error"),
    "invalid_tensor": (400, "invalid_request_error"),
    "invalid_artifact": (400, "invalid_request_error"),
    "invalid_data": (400, "invalid_request_error"),
    "too_large": (413, "request_too_large"),
    "unsupported": (400, "invalid_request_error"),
    "unauthenticated": (401, "authentication_error"),
    "permission_denied": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "conflict": (409, "invalid_request_error"),
    "already_exists": (409, "invalid_request_error"),
    "limit_exceeded": (429, "rate_limit_error"),
    "unavailable": (529, "overloaded_error"),
    "deadline_exceeded": (504, "timeout_error"),
    "job_failed": (500, "api_error"),
    "internal": (500, "api_error"),
}


def _body(error: ModelyardError) -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": STATUS[error.code][1], "message": error.message}})


def error_reply(error: ModelyardError) -> Reply:
    """The answer to an error."""
    return STATUS[error.code][0], JSON, _body(error)


def stream_error(error: ModelyardError) -> bytes:
    """The last piece of a stream that failed."""
    return b"event: error\ndata: " + _body(error) + b"\n\n"

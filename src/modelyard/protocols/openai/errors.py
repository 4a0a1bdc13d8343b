"""Errors as the OpenAI API says them: one table from our codes to its statuses and types, and an object with four keys."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from modelyard.core.errors import ModelyardError
from modelyard.protocols.routing import Reply

JSON = ((b"content-type", b"application/json"),)
STATUS: dict[str, tuple[int, str]] = {
    "error": (500, "server_error"),
    "invalid_request": (400, "invalid_request_error"),
    "invalid_tensor": (400, "invalid_request_error"),
    "invalid_artifact": (400, "invalid_request_error"),
    "invalid_data": (400, "invalid_request_error"),
    "too_large": (413, "invalid_request_error"),
    "unsupported": (400, "invalid_request_error"),
    "unauthenticated": (401, "authentication_error"),
    "permission_denied": (403, "permission_error"),
    "not_found": (404, "invalid_request_error"),
    "conflict": (409, "conflict_error"),
    "already_exists": (409, "conflict_error"),
    "limit_exceeded": (429, "rate_limit_error"),
    "unavailable": (503, "server_error"),
    "deadline_exceeded": (504, "server_error"),
    "job_failed": (500, "server_error"),
    "internal": (500, "server_error"),
}
_CODES = {"limit_exceeded": "rate_limit_exceeded", "not_found": "model_not_found", "unauthenticated": "invalid_api_key"}
_FILE_CODES = _CODES | {"not_found": "not_found"}


def error_object(error: ModelyardError, codes: Mapping[str, str] = _CODES) -> dict[str, object]:
    """The object under ``error``."""
    return {"message": error.message, "type": STATUS[error.code][1], "param": None, "code": codes.get(error.code, error.code)}


def error_reply(error: ModelyardError, codes: Mapping[str, str] = _CODES) -> Reply:
    """The answer to an error; its clients read a wait in milliseconds before one in seconds."""
    headers: list[tuple[bytes, bytes]] = [*JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after-ms", b"%d" % max(1, round(error.retry_after * 1000))))
    return STATUS[error.code][0], headers, orjson.dumps({"error": error_object(error, codes)})


def file_error_reply(error: ModelyardError) -> Reply:
    """The same where what is missing is no model."""
    return error_reply(error, _FILE_CODES)


def stream_error(error: ModelyardError) -> bytes:
    """The last piece of a stream that failed."""
    return b"data: " + orjson.dumps({"error": error_object(error)}) + b"\n\n"

"""Errors as MLflow says them: one table from our codes to its names and statuses, and ``{"error_code": ..., "message": ...}``."""

from __future__ import annotations

import orjson

from modelyard.core.errors import ModelyardError
from modelyard.protocols.routing import Reply

JSON = ((b"content-type", b"application/json"),)

STATUS: dict[str, tuple[int, str]] = {
    "error": (500, "INTERNAL_ERROR"),
    "invalid_request": (400, "BAD_REQUEST"),
    "invalid_tensor": (400, "BAD_REQUEST"),
    "invalid_artifact": (400, "BAD_REQUEST"),
    "invalid_data": (400, "BAD_REQUEST"),
    "too_large": (413, "BAD_REQUEST"),
    "unsupported": (501, "NOT_IMPLEMENTED"),
    "unauthenticated": (401, "UNAUTHENTICATED"),
    "permission_denied": (403, "PERMISSION_DENIED"),
    "not_found": (404, "RESOURCE_DOES_NOT_EXIST"),
    "conflict": (409, "RESOURCE_CONFLICT"),
    "already_exists": (409, "ALREADY_EXISTS"),
    "limit_exceeded": (429, "REQUEST_LIMIT_EXCEEDED"),
    "unavailable": (503, "TEMPORARILY_UNAVAILABLE"),
    "deadline_exceeded": (504, "DEADLINE_EXCEEDED"),
    "job_failed": (500, "INTERNAL_ERROR"),
    "internal": (500, "INTERNAL_ERROR"),
}
"""Names as in MLflow's ``ErrorCode``, with the statuses that MLflow gives them."""


def error_reply(error: ModelyardError) -> Reply:
    """The answer to an error."""
    status, code = STATUS[error.code]
    return status, JSON, orjson.dumps({"error_code": code, "message": error.message})


def media_type_reply(sentence: str) -> Reply:
    """The answer to a body of a type that is not read."""
    return 415, JSON, orjson.dumps({"error_code": "BAD_REQUEST", "message": sentence})

"""Errors as Open Inference servers say them: one table from our codes to HTTP statuses, and ``{"error": "..."}``."""

from __future__ import annotations

import orjson

from modelyard.core.errors import ModelyardError
from modelyard.protocols.routing import Reply

JSON = ((b"content-type", b"application/json"),)

STATUS: dict[str, int] = {
    "error": 500,
    "invalid_request": 400,
    "invalid_tensor": 400,
    "invalid_artifact": 400,
    "invalid_data": 400,
    "too_large": 413,
    "unsupported": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "conflict": 409,
    "already_exists": 409,
    "limit_exceeded": 429,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "job_failed": 500,
    "internal": 500,
}


def error_reply(error: ModelyardError) -> Reply:
    """The answer to an error."""
    return STATUS[error.code], JSON, orjson.dumps({"error": error.message})

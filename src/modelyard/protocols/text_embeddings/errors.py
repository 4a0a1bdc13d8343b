"""Errors as text-embeddings-inference says them: one table from our codes, and ``{"error": ..., "error_type": ...}``."""

from __future__ import annotations

import orjson

from modelyard.core.errors import ModelyardError
from modelyard.protocols.routing import Reply

JSON = ((b"content-type", b"application/json"),)
STATUS: dict[str, tuple[int, str]] = {
    "error": (500, "Backend"),
    "invalid_request": (422, "Validation"),
    "invalid_tensor": (422, "Validation"),
    "invalid_artifact": (422, "Validation"),
    "invalid_data": (422, "Validation"),
    "too_large": (413, "Validation"),
    "unsupported": (422, "Validation"),
    "unauthenticated": (401, "Unauthenticated"),
    "permission_denied": (403, "PermissionDenied"),
    "not_found": (404, "NotFound"),
    "conflict": (409, "Conflict"),
    "already_exists": (409, "Conflict"),
    "limit_exceeded": (429, "Overloaded"),
    "unavailable": (503, "Unhealthy"),
    "deadline_exceeded": (504, "Backend"),
    "job_failed": (500, "Backend"),
    "internal": (500, "Backend"),
}
"""Names of the protocol where it has one; it knows nothing of keys and deployments."""


def error_reply(error: ModelyardError) -> Reply:
    """The answer to an error."""
    status, kind = STATUS[error.code]
    return status, JSON, orjson.dumps({"error": error.message, "error_type": kind})

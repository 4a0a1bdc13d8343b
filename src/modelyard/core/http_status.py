"""What HTTP says to each error: to callers of the management API, and of protocols that say it the same way."""

from __future__ import annotations

HTTP_STATUS: dict[str, int] = {
    "error": 500,
    "invalid_request": 400,
    "invalid_tensor": 400,
    "invalid_artifact": 400,
    "invalid_data": 400,
    "too_large": 413,
    "unsupported": 501,
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
"""By the code of an error."""

"""Errors as TensorFlow Serving says them: its statuses for INVALID_ARGUMENT, UNIMPLEMENTED and so on, and ``{"error": "..."}``."""

from __future__ import annotations

import orjson

from modelyard.core.errors import ModelyardError
from modelyard.core.http_status import HTTP_STATUS
from modelyard.protocols.routing import Reply

JSON = ((b"content-type", b"application/json"),)


def error_reply(error: ModelyardError) -> Reply:
    """The answer to an error."""
    return HTTP_STATUS[error.code], JSON, orjson.dumps({"error": error.message})

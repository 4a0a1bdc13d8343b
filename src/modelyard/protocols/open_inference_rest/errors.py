"""Errors as Open Inference servers say them: one table from our codes to HTTP statuses, and ``{"error": "..."}``."""

from __future__ import annotations

import orjson

from modelyard.core.errors import ModelyardError
from modelyard.core.http_status import HTTP_STATUS
from modelyard.protocols.routing import Reply

JSON = ((b"content-type", b"application/json"),)

STATUS = HTTP_STATUS | {"unsupported": 400}


def error_reply(error: ModelyardError) -> Reply:
    """The answer to an error."""
    return STATUS[error.code], JSON, orjson.dumps({"error": error.message})

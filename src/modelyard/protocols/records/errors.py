"""Errors of the records protocol: the same statuses and the same body as the management API's."""

from __future__ import annotations

from typing import Any

import orjson

from modelyard.core.errors import ModelyardError
from modelyard.core.http_status import HTTP_STATUS
from modelyard.protocols.routing import Reply

JSON = ((b"content-type", b"application/json"),)


def error_reply(error: ModelyardError) -> Reply:
    """The answer to an error."""
    said: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.retry_after is not None:
        said["retry_after"] = error.retry_after
    return HTTP_STATUS[error.code], JSON, orjson.dumps({"error": said})

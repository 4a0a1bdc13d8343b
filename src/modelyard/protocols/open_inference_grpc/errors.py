"""Errors over gRPC: one table from our codes to gRPC's status codes; in a stream of inferences, a message of their own."""

from __future__ import annotations

from urllib.parse import quote

from modelyard.core.errors import ModelyardError, PermissionDenied, Unauthenticated
from modelyard.protocols.open_inference_grpc.stubs import message
from modelyard.protocols.open_inference_rest.errors import STATUS as HTTP_STATUS
from modelyard.protocols.routing import Reply

STATUS: dict[str, int] = {
    "error": 13,
    "invalid_request": 3,
    "invalid_tensor": 3,
    "invalid_artifact": 3,
    "invalid_data": 3,
    "too_large": 8,
    "unsupported": 12,
    "unauthenticated": 16,
    "permission_denied": 7,
    "not_found": 5,
    "conflict": 9,
    "already_exists": 6,
    "limit_exceeded": 8,
    "unavailable": 14,
    "deadline_exceeded": 4,
    "job_failed": 13,
    "internal": 13,
}
"""By gRPC's numbers: 3 invalid argument, 8 resource exhausted, 12 unimplemented, 14 unavailable and so on."""

_STREAMED = message("ModelStreamInferResponse")


def error_reply(error: ModelyardError) -> Reply:
    """The answer to an error: a status and no message. The HTTP status is for the journal."""
    headers = [
        (b"grpc-status", str(STATUS[error.code]).encode()),
        (b"grpc-message", quote(error.message, safe=" !#$&'()*+,/:;=?@[]\"<>{}|").encode()),
    ]
    return HTTP_STATUS[error.code], headers, b""


def stream_error_reply(error: ModelyardError) -> Reply:
    """The answer to an error of one request of a stream, which goes on; but for callers without a right it ends."""
    if isinstance(error, Unauthenticated | PermissionDenied):
        return error_reply(error)
    return HTTP_STATUS[error.code], (), _STREAMED(error_message=error.message).SerializeToString()

"""From answers and broken connections to the errors of core."""

from __future__ import annotations

import httpx
import msgspec

from modelyard.core.api import ErrorBody
from modelyard.core.errors import (
    Conflict,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    LimitExceeded,
    ModelyardError,
    NotFound,
    PermissionDenied,
    TooLarge,
    Unauthenticated,
    Unavailable,
    error_codes,
)

BY_STATUS: dict[int, type[ModelyardError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: LimitExceeded,
    503: Unavailable,
    504: DeadlineExceeded,
}
"""For answers that carry no code of ours: a proxy's, or another protocol's."""


class _PlainBody(msgspec.Struct):
    """The error form of the Open Inference Protocol."""

    error: str


def error_from(status: int, headers: httpx.Headers, body: bytes) -> ModelyardError:
    """The error that an answer with ``status`` of 400 or more means."""
    wait = retry_after(headers)
    try:
        detail = msgspec.json.decode(body, type=ErrorBody).error
    except msgspec.MsgspecError:
        return BY_STATUS.get(status, InvalidRequest if status < 500 else Internal)(_message(status, body), retry_after=wait)
    kind = error_codes().get(detail.code) or BY_STATUS.get(status, Internal)
    return kind(detail.message, retry_after=detail.retry_after if detail.retry_after is not None else wait)


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds from a Retry-After header; None when there is none, or it gives a date."""
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _message(status: int, body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_PlainBody).error
    except msgspec.MsgspecError:
        shown = body[:200].decode(errors="replace").strip()
        return f"The server answered with status {status}{': ' + shown if shown else '.'}"


def unreachable(url: str, error: httpx.TransportError) -> ModelyardError:
    """The error for a server that could not be talked to."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Unavailable(
            f"The certificate of {url} is not trusted ({error}); set MODELYARD_CA to a PEM file of the authority that issued it."
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Unavailable(
            f"No Modelyard server answers at {url}; start one with: modelyard up --detach (or set MODELYARD_URL to where one runs)."
        )
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded(f"The server at {url} did not answer in time; it may be overloaded, or the timeout too short.")
    # In TLS 1.3 a server refuses a client's certificate, or the lack of one, only after the client has begun to talk.
    hint = " If it asks clients for certificates, set MODELYARD_CERTIFICATE to one." if url.startswith("https://") else ""
    return Unavailable(f"The connection to {url} broke: {error or type(error).__name__}.{hint}")

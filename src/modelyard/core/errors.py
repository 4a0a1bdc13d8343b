"""The one error tree.

    ModelyardError
    ├── InvalidRequest            the caller's input is wrong
    │   ├── InvalidTensor         a tensor's name, dtype, shape or data does not fit the signature
    │   ├── InvalidArtifact       a model file that cannot be read, is unsafe or does not run
    │   ├── InvalidData           a table or other data set that cannot be used
    │   ├── TooLarge              over a stated size limit
    │   └── Unsupported           well-formed, but not something this server does
    ├── Unauthenticated           no key, or one that is unknown, expired or revoked
    ├── PermissionDenied          a known caller without this right
    ├── NotFound                  no such thing, or not visible to the caller
    ├── Conflict                  the current state does not allow the change
    │   └── AlreadyExists
    ├── LimitExceeded             a rate, quota or budget refuses the call; carries retry_after
    ├── Unavailable               not now: loading, draining, overloaded; carries retry_after
    │   └── DeadlineExceeded
    ├── JobFailed                 long work ended badly
    └── Internal                  our fault; the detail goes to the log, never to the caller

Each class has a stable ``code``; every protocol owns one table from code to its own status. Nothing here knows a transport.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ModelyardError(Exception):
    """Root of all errors raised on purpose.

    ``message`` is one sentence for the caller: what is wrong, where, and what to do about it.
    """

    code = "error"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        """Seconds after which the same call may succeed, where that is known."""


class InvalidRequest(ModelyardError):
    code = "invalid_request"


class InvalidTensor(InvalidRequest):
    code = "invalid_tensor"


class InvalidArtifact(InvalidRequest):
    code = "invalid_artifact"


class InvalidData(InvalidRequest):
    code = "invalid_data"


class TooLarge(InvalidRequest):
    code = "too_large"


class Unsupported(InvalidRequest):
    code = "unsupported"


class Unauthenticated(ModelyardError):
    code = "unauthenticated"


class PermissionDenied(ModelyardError):
    code = "permission_denied"


class NotFound(ModelyardError):
    code = "not_found"


class Conflict(ModelyardError):
    code = "conflict"


class AlreadyExists(Conflict):
    code = "already_exists"


class LimitExceeded(ModelyardError):
    code = "limit_exceeded"


class Unavailable(ModelyardError):
    code = "unavailable"


class DeadlineExceeded(Unavailable):
    code = "deadline_exceeded"


class JobFailed(ModelyardError):
    code = "job_failed"


class Internal(ModelyardError):
    code = "internal"


def error_codes() -> dict[str, type[ModelyardError]]:
    """Every stable code with its class, so that protocols and the SDK can prove their tables complete."""
    found: dict[str, type[ModelyardError]] = {}
    waiting: list[type[ModelyardError]] = [ModelyardError]
    while waiting:
        kind = waiting.pop()
        found[kind.code] = kind
        waiting.extend(kind.__subclasses__())
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with the nearest known name, or an empty string when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""

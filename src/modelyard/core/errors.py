"""The one error tree.

    ModelyardError
    ├── InvalidRequest
    │   ├── InvalidTensor
    │   ├── InvalidArtifact
    │   ├── InvalidData
    │   ├── TooLarge
    │   └── Unsupported
    ├── Unauthenticated
    │   └── MissingKey
    ├── PermissionDenied
    ├── NotFound
    ├── Conflict
    │   └── AlreadyExists
    ├── LimitExceeded
    ├── Unavailable
    │   └── DeadlineExceeded
    ├── JobFailed
    └── Internal

Each class has a stable ``code``; every protocol owns one table from code to its own status. Nothing here knows a transport.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.core.limits import Standing


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
    """The caller's input is wrong."""

    code = "invalid_request"


class InvalidTensor(InvalidRequest):
    """A tensor's name, dtype, shape or data does not fit the signature."""

    code = "invalid_tensor"


class InvalidArtifact(InvalidRequest):
    """A model file that cannot be read, is unsafe or does not run."""

    code = "invalid_artifact"


class InvalidData(InvalidRequest):
    """A table or other data set that cannot be used."""

    code = "invalid_data"


class TooLarge(InvalidRequest):
    """Over a stated size limit."""

    code = "too_large"


class Unsupported(InvalidRequest):
    """Well-formed, but not something this server does."""

    code = "unsupported"


class Unauthenticated(ModelyardError):
    """No key, or one that is unknown, expired or revoked."""

    code = "unauthenticated"


class MissingKey(Unauthenticated):
    """No key came at all: some callers need none."""


class PermissionDenied(ModelyardError):
    """A known caller without this right."""

    code = "permission_denied"


class NotFound(ModelyardError):
    """No such thing, or not visible to the caller."""

    code = "not_found"


class Conflict(ModelyardError):
    """The current state does not allow the change."""

    code = "conflict"


class AlreadyExists(Conflict):
    """A thing of this name is there already."""

    code = "already_exists"


class LimitExceeded(ModelyardError):
    """A rate, quota or budget refuses the call; carries ``retry_after``."""

    code = "limit_exceeded"
    standings: tuple[Standing, ...] = ()
    """Where the caller stands with the limits that bind it, where that is known."""


class Unavailable(ModelyardError):
    """Not now: loading, draining, overloaded; may carry ``retry_after``."""

    code = "unavailable"


class DeadlineExceeded(Unavailable):
    """The time that the caller or the platform allows has passed."""

    code = "deadline_exceeded"


class JobFailed(ModelyardError):
    """Long work ended badly."""

    code = "job_failed"


class Internal(ModelyardError):
    """Our fault; the detail goes to the log, never to the caller."""

    code = "internal"


def error_codes() -> dict[str, type[ModelyardError]]:
    """Every stable code with its class, so that protocols and the SDK can prove their tables complete."""
    found: dict[str, type[ModelyardError]] = {}
    waiting: list[type[ModelyardError]] = [ModelyardError]
    while waiting:
        kind = waiting.pop()
        found.setdefault(kind.code, kind)  # a subclass without a code of its own is told as what it is a kind of
        waiting.extend(kind.__subclasses__())
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with the nearest known name, or an empty string when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""

"""Who calls, and whether they may: answered from the snapshot alone, in microseconds.

Belongs to one thread, that of the worker's event loop. What limits and budgets reserve goes into the permit, and ``Permit.settle``
gives back what was not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelyard.core.access import Action, Grant
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.errors import InvalidRequest, NotFound, PermissionDenied, Unavailable
from modelyard.core.usage import CallKind
from modelyard.gate.authenticate import Authenticator
from modelyard.gate.journal import Journal
from modelyard.gate.limiter import Limiter
from modelyard.gate.openness import Openness
from modelyard.gate.permit import Permit
from modelyard.store.snapshot import Snapshot

LIMITED = frozenset({CallKind.INFER, CallKind.GENERATE, CallKind.EMBED, CallKind.EXPLAIN})
"""Calls that limits count: those that compute. Asking for metadata or for a stored result is free."""


class SnapshotHolder:
    """The snapshot that this process acts on; the reconciler swaps it."""

    __slots__ = ("current",)

    def __init__(self, current: Snapshot | None = None) -> None:
        self.current = current or Snapshot.empty()

    def grant(self, digest: bytes) -> Grant | None:
        """The grant of the key with this SHA-256 in the current snapshot."""
        return self.current.grant(digest)

    @property
    def seen_ns(self) -> int:
        """When the current snapshot was published."""
        return self.current.created_ns


def scoped_deployment(grant: Grant, path: str) -> str:
    """The one deployment that a key is scoped to: what it means by a path that names none.

    Raises InvalidRequest, saying what to do, for a key that may call several.
    """
    if len(grant.deployments) == 1:
        return next(iter(grant.deployments))
    may = f"{len(grant.deployments)} deployments" if grant.deployments else "any deployment of its workspace"
    raise InvalidRequest(
        f"{path} names no deployment, and this key may call {may}: call /deployments/NAME{path}, or use a key that is made for one"
        " with: modelyard keys create --deployment NAME"
    )


class Gate:
    """Authenticates callers and admits calls. Every refusal is an error with one sentence; nothing here waits."""

    def __init__(self, snapshots: SnapshotHolder, journal: Journal, clock: Clock | None = None, limiter: Limiter | None = None) -> None:
        self._snapshots = snapshots
        self._journal = journal
        self._limiter = limiter
        self.openness = Openness(snapshots, clock or SystemClock())
        """What callers without a key, and pages of other origins, may do."""
        authenticator = Authenticator(snapshots, clock)
        self.authenticate: Callable[[Mapping[bytes, bytes], str, str], Grant] = authenticator.authenticate
        """See ``Authenticator.authenticate``."""
        self.certified = authenticator.certified
        """See ``Authenticator.certified``."""

    def admit(  # on every call's path, where keywords cost time
        self, grant: Grant, action: Action, deployment: str | None, request_id: bytes, kind: CallKind = CallKind.OTHER
    ) -> Permit:
        """A permit for one call, which must be settled exactly once. ``request_id`` is our own, 16 bytes.

        Raises PermissionDenied when the key lacks the action, NotFound for a deployment that is missing or not for this key
        (the same answer, so that names cannot be probed), LimitExceeded, Awaited when what a limit lacks may come within moments,
        Unavailable when usage cannot be recorded now.
        """
        if action not in grant.actions:
            raise PermissionDenied(f"This key may not {action}; use one that was created with the action {str(action)!r}.")
        deployment_id = 0
        snapshot = self._snapshots.current
        if deployment is not None:
            served = snapshot.deployment(grant.workspace_id, deployment)
            if served is None or (grant.deployments and deployment not in grant.deployments):
                raise NotFound(f"There is no deployment {deployment!r} that this key may call.")
            deployment_id = served.id
        journal = self._journal
        if not journal.available:
            journal.recover()
        caller = (request_id, grant.workspace_id, grant.key_id, deployment_id)
        if snapshot.limits and kind in LIMITED:
            if self._limiter is None:
                raise Unavailable("Limits cannot be looked up by this process; ask whoever runs this server.")
            return Permit(journal, caller, self._limiter.reserve(snapshot, grant, deployment_id, deployment or ""))
        return Permit(journal, caller)

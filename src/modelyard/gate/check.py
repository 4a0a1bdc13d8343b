"""Who calls, and whether they may: answered from the snapshot alone, in microseconds.

Belongs to one thread, that of the worker's event loop. What limits and budgets reserve goes into the permit, and ``Permit.settle``
gives back what was not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelyard.core.access import Action, Certificate, Grant
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.errors import InvalidRequest, NotFound, PermissionDenied, Unavailable
from modelyard.core.usage import CallKind
from modelyard.gate.authenticate import Authenticator
from modelyard.gate.journal import Journal
from modelyard.gate.limiter import Limiter
from modelyard.gate.openness import Openness
from modelyard.gate.permit import Permit
from modelyard.gate.plan import Plan
from modelyard.store.snapshot import Snapshot

NOBODY = Grant(workspace_id=0, key_id=0, public_id="", actions=frozenset(), deployments=frozenset())
_KNOWN: Final = 4096
"""So many keys are known by the header they came in."""
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


class _Way:
    """What all calls of one key to one deployment have in common."""

    __slots__ = ("actions", "deployment_id", "key_id", "limited", "plan", "workspace_id")

    def __init__(self, grant: Grant, deployment_id: int, *, limited: bool) -> None:
        self.actions = grant.actions
        self.workspace_id, self.key_id, self.deployment_id = grant.workspace_id, grant.key_id, deployment_id
        self.limited = limited
        """Whether there are limits at all."""
        self.plan: Plan | None = None
        """Those that bind such a call, once one has come."""


class _Known:
    """A key that was found good: what would be found out anew with each of its calls, as long as the snapshot is the same."""

    __slots__ = ("checked", "grant", "snapshot", "unnamed", "ways")

    def __init__(self, grant: Grant, snapshot: Snapshot) -> None:
        self.grant, self.snapshot = grant, snapshot
        self.checked = bool(grant.expires_ns or grant.networks)
        """Whether each call must be looked at."""
        self.unnamed = _Way(grant, 0, limited=bool(snapshot.limits))
        """Calls that name no deployment."""
        self.ways: dict[str, _Way] = {}
        """By the names of deployments that it may call."""

    def way(self, deployment: str) -> _Way:
        """Raises NotFound."""
        grant = self.grant
        served = self.snapshot.deployment(grant.workspace_id, deployment)
        if served is None or (grant.deployments and deployment not in grant.deployments):
            raise NotFound(f"There is no deployment {deployment!r} that this key may call.")
        way = self.ways[deployment] = _Way(grant, served.id, limited=self.unnamed.limited)
        return way


class Gate:
    """Authenticates callers and admits calls. Every refusal is an error with one sentence; nothing here waits.

    Keys that came lately are known by the header they came in. Such a header is found by a hash that nobody outside can compute (Python's
    SipHash with a secret of the process) before it is compared, so that time tells nothing; all are forgotten with each new snapshot.
    """

    def __init__(self, snapshots: SnapshotHolder, journal: Journal, clock: Clock | None = None, limiter: Limiter | None = None) -> None:
        self._snapshots = snapshots
        self._journal = journal
        self._limiter = limiter
        self.openness = Openness(snapshots, clock or SystemClock())
        """What callers without a key, and pages of other origins, may do."""
        self._authenticator = Authenticator(snapshots, clock)
        self._limited = LIMITED
        self._of = snapshots.current
        self._bearers: dict[bytes, _Known] = {}
        self._bare: dict[bytes, _Known] = {}
        """By the Authorization header, and by X-API-Key."""
        self._latest = _Known(NOBODY, self._of)
        """The key of the call that was authenticated last: mostly that of the one to be admitted next."""

    def authenticate(self, headers: Mapping[bytes, bytes], query: str, peer: str) -> Grant:
        """See ``Authenticator.authenticate``."""
        snapshot = self._snapshots.current
        if self._of is not snapshot:
            self._of, self._bearers, self._bare = snapshot, {}, {}
        value = headers.get(b"authorization")
        found = self._bearers
        if value is None:
            value = headers.get(b"x-api-key")
            found = self._bare
        elif b"x-api-key" in headers:
            value = None
        if value is None or query or b"api-key" in headers:
            return self._authenticator.authenticate(headers, query, peer)
        known = found.get(value)
        if known is None:
            known = _Known(self._authenticator.authenticate(headers, query, peer), snapshot)
            if len(found) >= _KNOWN:
                found.clear()
            found[value] = known
        elif known.checked:
            self._authenticator.check(known.grant, peer, self._journal.latest_ns)
        self._latest = known
        return known.grant

    def certified(self, certificate: Certificate, peer: str) -> Grant | None:
        """See ``Authenticator.certified``."""
        return self._authenticator.certified(certificate, peer)

    def admit(  # on every call's path, where keywords cost time
        self, grant: Grant, action: Action, deployment: str | None, request_id: bytes, kind: CallKind = CallKind.OTHER
    ) -> Permit:
        """A permit for one call, which must be settled exactly once. ``request_id`` is our own, 16 bytes.

        Raises PermissionDenied when the key lacks the action, NotFound for a deployment that is missing or not for this key
        (the same answer, so that names cannot be probed), LimitExceeded, Awaited when what a limit lacks may come within moments,
        Unavailable when usage cannot be recorded now.
        """
        known = self._latest
        if known.grant is not grant or known.snapshot is not self._snapshots.current:
            known = _Known(grant, self._snapshots.current)
        way = known.unnamed if deployment is None else known.ways.get(deployment)
        # The right comes first: whoever lacks it learns nothing of names.
        if action not in known.unnamed.actions:
            raise PermissionDenied(f"This key may not {action}; use one that was created with the action {str(action)!r}.")
        if way is None:
            way = known.way(deployment or "")
        journal = self._journal
        if not journal.available:
            journal.recover()
        caller = (request_id, way.workspace_id, way.key_id, way.deployment_id)
        if not way.limited or kind not in self._limited:
            return Permit(journal, caller)
        limiter = self._limiter
        if limiter is None:
            raise Unavailable("Limits cannot be looked up by this process; ask whoever runs this server.")
        plan = way.plan
        if plan is None:
            plan = way.plan = limiter.plan(known.snapshot, grant, way.deployment_id, deployment or "")
        return Permit(journal, caller, limiter.reserve(plan))

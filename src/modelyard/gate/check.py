"""Who calls, and whether they may: answered from the snapshot alone, in microseconds.

Belongs to one thread, that of the worker's event loop. Rate limits and budgets join ``admit``: what they reserve goes into the
permit, and ``Permit.settle`` gives back what was not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import unquote

from modelyard.core.access import Action, Grant
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.errors import NotFound, PermissionDenied, Unauthenticated
from modelyard.gate.journal import Journal
from modelyard.gate.permit import Permit
from modelyard.store.snapshot import Snapshot

LONGEST_KEY = 512
"""Longer secrets are refused unread; an admin key given from outside may be as long."""
_QUERY_NAMES = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token"})
_OWN_KEY = "my_"
_HOW = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
_UNKNOWN = "The key is not valid: it is unknown, revoked or expired. Check it, or ask whoever runs this server for a new one."


class SnapshotHolder:
    """The snapshot that this process acts on; the reconciler swaps it."""

    __slots__ = ("current",)

    def __init__(self, current: Snapshot | None = None) -> None:
        self.current = current or Snapshot.empty()


class Gate:
    """Authenticates callers and admits calls. Every refusal is an error with one sentence; nothing here waits."""

    def __init__(self, snapshots: SnapshotHolder, journal: Journal, clock: Clock | None = None) -> None:
        self._snapshots = snapshots
        self._journal = journal
        self._time_ns = (clock or SystemClock()).time_ns
        self._latest_ns = 0

    def authenticate(self, headers: Mapping[bytes, bytes], query: str) -> Grant:
        """The grant of the key in the headers (names in lower case, repeated fields joined by ``, ``).

        Raises Unauthenticated when there is no key, it is not valid, several differ, or one stands in the query string.
        """
        if query and _key_in_query(query):
            raise Unauthenticated(f"A key in the address ends up in logs and histories, so it is refused; {_HOW}, and replace that key.")
        secret = headers.get(b"authorization")
        if secret is not None:
            secret = secret[7:] if secret[:7] == b"Bearer " else _bearer(secret)
            if b"x-api-key" in headers or b"api-key" in headers:
                _only_one(secret, headers)
        else:
            secret = _bare_key(headers)
        if len(secret) > LONGEST_KEY:
            raise Unauthenticated(f"The key is longer than {LONGEST_KEY} bytes; {_HOW}.")
        snapshot = self._snapshots.current
        grant = snapshot.grant(sha256(secret).digest())
        if grant is None:
            raise Unauthenticated(_UNKNOWN)
        # A clock that is set back must not bring an expired key to life again, not even across a restart: the snapshot's own
        # time counts as seen.
        self._latest_ns = now = max(self._latest_ns, self._time_ns())
        if grant.expires_ns and grant.expires_ns <= max(now, snapshot.created_ns):
            raise Unauthenticated(_UNKNOWN)
        return grant

    def admit(self, grant: Grant, action: Action, deployment: str | None, request_id: bytes) -> Permit:
        """A permit for one call, which must be settled exactly once. ``request_id`` is our own, 16 bytes.

        Raises PermissionDenied when the key lacks the action, NotFound for a deployment that is missing or not for this key
        (the same answer, so that names cannot be probed), Unavailable when usage cannot be recorded now.
        """
        if action not in grant.actions:
            raise PermissionDenied(f"This key may not {action}; use one that was created with the action {str(action)!r}.")
        deployment_id = 0
        if deployment is not None:
            served = self._snapshots.current.deployment(grant.workspace_id, deployment)
            if served is None or (grant.deployments and deployment not in grant.deployments):
                raise NotFound(f"There is no deployment {deployment!r} that this key may call.")
            deployment_id = served.id
        journal = self._journal
        if not journal.available:
            journal.recover()
        return Permit(journal, (request_id, grant.workspace_id, grant.key_id, deployment_id))


def _bearer(value: bytes) -> bytes:
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() != b"bearer" or not rest:
        raise Unauthenticated(f"The Authorization header must be 'Bearer KEY'; {_HOW}.")
    return rest


def _bare_key(headers: Mapping[bytes, bytes]) -> bytes:
    secret = headers.get(b"x-api-key")
    other = headers.get(b"api-key")
    if secret is None:
        secret = other
    elif other is not None and other != secret:
        raise _several()
    if not secret:
        raise Unauthenticated(f"This needs a key; {_HOW}.")
    return secret


def _only_one(secret: bytes, headers: Mapping[bytes, bytes]) -> None:
    if _bare_key(headers) != secret:
        raise _several()


def _several() -> Unauthenticated:
    return Unauthenticated("Several different keys came in the headers of one request; send one.")


def _key_in_query(query: str) -> bool:
    """Whether a parameter is one that people put keys into, or any value looks like a key of ours."""
    for pair in query.replace(";", "&").split("&"):
        name, _, value = pair.partition("=")
        if not value:
            continue
        if unquote(name).lower() in _QUERY_NAMES or unquote(value).startswith(_OWN_KEY):
            return True
    return False

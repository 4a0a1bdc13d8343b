"""API keys: made from the system's randomness, shown once, kept as a hash.

A secret reads ``my_<public id>_<40 letters and digits>``; what is stored is the SHA-256 of the whole of it. It has 238 random
bits, so a fast hash is enough; only admin keys given from outside may have another form, and those people must choose well.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import string
from hmac import compare_digest

import msgspec

from modelyard.core.access import ALL_ACTIONS, Action, Grant, Key
from modelyard.core.clock import Clock
from modelyard.core.durations import LONGEST
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, did_you_mean
from modelyard.core.events import Actor
from modelyard.store.database import Session, Store
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

PREFIX = "my_"
SHORTEST_GIVEN = 16
LONGEST_GIVEN = 512
_ALPHABET = string.ascii_letters + string.digits
_SYSTEM = Actor(name="system", workspace_id=DEFAULT_WORKSPACE_ID)
_MADE = "admin key of the first start"
_GIVEN = "admin key given by MODELYARD_ADMIN_KEY"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to issue."""

    label: str = ""
    actions: tuple[Action, ...] = (Action.INFER,)
    deployments: tuple[str, ...] = ()
    """Names it may call; empty for every deployment of the workspace."""
    expires_seconds: float = 0.0
    """From now; 0 for never. ``core.durations.parse_expiry`` reads what people write."""


class KeyService:
    """Issues, lists and revokes keys; each change with its audit row in the same transaction. Safe to use from several threads.

    Also a source of grants straight from the database, for processes that do not act on snapshots.
    """

    seen_ns = 0

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def create(self, actor: Actor, new: NewKey, within: Grant | None = None) -> tuple[Key, str]:
        """A new key of the actor's workspace and its secret, which nothing can show again.

        ``within`` is the grant of whoever asks: nobody hands out more than they hold.
        Raises InvalidRequest, NotFound for a deployment that does not exist, PermissionDenied.
        """
        _check(new)
        if within is not None:
            check_within(new, within, self._clock.time_ns())
        with self._store.write() as session:
            _check_deployments(session, actor.workspace_id, new.deployments)
            return self._add(session, actor, new)

    def list(self, workspace_id: int) -> list[Key]:
        """Keys of a workspace, oldest first, revoked and expired ones too."""
        with self._store.read() as session:
            return session.keys.list(workspace_id)

    def get(self, workspace_id: int, public_id: str) -> Key:
        """One key. Raises NotFound."""
        with self._store.read() as session:
            return _need(session, workspace_id, public_id)

    def revoke(self, actor: Actor, public_id: str) -> Key:
        """Ends a key; workers refuse it as soon as they see the next snapshot. Revoking it again changes nothing.

        Raises NotFound; Conflict for the last key that can administer, because nobody could issue another one then.
        """
        now = self._clock.time_ns()
        with self._store.write() as session:
            key = _need(session, actor.workspace_id, public_id)
            if key.revoked_ns:
                return key
            others = [other for other in session.keys.active(now) if other.id != key.id]
            if _administers(key) and not any(_administers(other) for other in others):
                raise Conflict(f"Key {public_id!r} is the last one that can administer; create another with all rights before revoking it.")
            return _revoke(session, actor, key, now)

    def bootstrap(self, secret: str | None) -> str | None:
        """Sees to it that an admin key exists; the secret of one that was made now, to be printed once.

        With a ``secret`` from outside, that is the admin key from now on, and the one given before is revoked. Without one, a key
        is made only while no valid admin key exists.
        Raises InvalidRequest for a secret that is too short, Conflict for one that was revoked or belongs to a lesser key.
        """
        if secret:
            self._adopt(secret)
            return None
        with self._store.write() as session:
            if any(_administers(key) for key in session.keys.active(self._clock.time_ns())):
                return None
            return self._add(session, _SYSTEM, NewKey(label=_MADE, actions=tuple(Action)))[1]

    def grant(self, digest: bytes) -> Grant | None:
        """The grant of the key with this SHA-256, from the database; None when it is unknown or revoked."""
        with self._store.read() as session:
            key = session.keys.by_digest(digest.hex())
        if key is None or key.revoked_ns or not compare_digest(key.digest, digest.hex()):
            return None
        return grant_of(key)

    def _adopt(self, secret: str) -> None:
        if not SHORTEST_GIVEN <= len(secret) <= LONGEST_GIVEN or not secret.isascii() or not secret.isprintable() or " " in secret:
            raise InvalidRequest(
                f"The admin key must have {SHORTEST_GIVEN} to {LONGEST_GIVEN} printable ASCII characters without spaces; choose another."
            )
        now = self._clock.time_ns()
        with self._store.write() as session:
            known = session.keys.by_digest(secret_digest(secret))
            if known is not None:
                if known.revoked_ns or not _administers(known):
                    raise Conflict("The given admin key was revoked, or belongs to a key with fewer rights; choose another.")
                return
            for key in session.keys.active(now):
                if key.label == _GIVEN and key.workspace_id == DEFAULT_WORKSPACE_ID:
                    _revoke(session, _SYSTEM, key, now)
            self._add(session, _SYSTEM, NewKey(label=_GIVEN, actions=tuple(Action)), secret)

    def _add(self, session: Session, actor: Actor, new: NewKey, given: str = "") -> tuple[Key, str]:
        now = self._clock.time_ns()
        public_id = secrets.token_hex(5)
        secret = given or f"{PREFIX}{public_id}_{''.join(secrets.choice(_ALPHABET) for _ in range(40))}"
        key = session.keys.add(
            Key(
                id=0,
                workspace_id=actor.workspace_id,
                public_id=public_id,
                digest=secret_digest(secret),
                label=new.label,
                actions=tuple(sorted(set(new.actions))),
                deployments=tuple(sorted(set(new.deployments))),
                created_by=actor.name,
                created_ns=now,
                expires_ns=now + int(new.expires_seconds * 1e9) if new.expires_seconds else 0,
            )
        )
        after = {"label": key.label, "actions": key.actions, "deployments": key.deployments, "expires_ns": key.expires_ns}
        session.audit.append(actor, "key.create", public_id, after=after)
        return key, secret


def secret_digest(secret: str) -> str:
    """What is stored of a secret: its SHA-256 (hex)."""
    return hashlib.sha256(secret.encode()).hexdigest()


def masked(key: Key) -> str:
    """How lists show a key: enough to recognize it."""
    return f"{PREFIX}{key.public_id}_…"


def grant_of(key: Key) -> Grant:
    """What a key allows."""
    return Grant(
        workspace_id=key.workspace_id,
        key_id=key.id,
        public_id=key.public_id,
        actions=frozenset(key.actions),
        deployments=frozenset(key.deployments),
        expires_ns=key.expires_ns,
    )


def _check(new: NewKey) -> None:
    if not new.actions:
        raise InvalidRequest("A key needs at least one action, like 'infer'.")
    if len(new.label) > 200 or not new.label.isprintable():
        raise InvalidRequest("A key's label has at most 200 printable characters.")
    if not math.isfinite(new.expires_seconds) or not 0 <= new.expires_seconds <= LONGEST:
        raise InvalidRequest("A key expires after a positive time of at most a hundred years, or never (0).")


def check_within(new: NewKey, grant: Grant, now_ns: int) -> None:
    """Raises PermissionDenied when ``new`` could do, call or outlast what the holder of ``grant`` cannot."""
    more = set(new.actions) - grant.actions
    if more:
        raise PermissionDenied(f"A key can only hand out its own rights; yours lacks {', '.join(sorted(more))}.")
    if grant.deployments and not (new.deployments and grant.deployments.issuperset(new.deployments)):
        raise PermissionDenied(f"Your key is for {', '.join(sorted(grant.deployments))} only; name deployments among them.")
    if grant.expires_ns and not 0 < new.expires_seconds <= (grant.expires_ns - now_ns) / 1e9:
        raise PermissionDenied("Your key expires; a key that it creates must expire no later.")


def _check_deployments(session: Session, workspace_id: int, names: tuple[str, ...]) -> None:
    if not names:
        return
    known = {deployment.name for deployment in session.deployments.list(workspace_id)}
    for name in names:
        if name not in known:
            raise NotFound(f"There is no deployment {name!r} for the key to call.{did_you_mean(name, known)} Deploy it first.")


def _need(session: Session, workspace_id: int, public_id: str) -> Key:
    key = session.keys.get(workspace_id, public_id)
    if key is None:
        known = [other.public_id for other in session.keys.list(workspace_id)]
        raise NotFound(f"There is no key {public_id!r}.{did_you_mean(public_id, known)}")
    return key


def _revoke(session: Session, actor: Actor, key: Key, now_ns: int) -> Key:
    revoked = session.keys.revoke(key.workspace_id, key.public_id, now_ns)
    session.audit.append(actor, "key.revoke", key.public_id, before={"revoked_ns": 0}, after={"revoked_ns": now_ns})
    return revoked


def _administers(key: Key) -> bool:
    """Whether it can do everything, in the workspace that every home has."""
    return key.workspace_id == DEFAULT_WORKSPACE_ID and not key.deployments and ALL_ACTIONS.issubset(key.actions)

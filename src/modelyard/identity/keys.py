"""API keys: made from the system's randomness, shown once, kept as a hash.

A secret reads ``my_<public id>_<40 letters and digits>``; what is stored is the SHA-256 of the whole of it. It has 238 random
bits, so a fast hash is enough; only admin keys given from outside may have another form, and those people must choose well.

A key is a principal's. What it may do is what it was made for and its principal may do in the workspace now, whichever is less:
``within_rights`` says so wherever a key becomes a grant.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from hmac import compare_digest

import msgspec

from modelyard.core.access import Action, Grant, Key
from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, did_you_mean
from modelyard.core.events import Actor
from modelyard.core.principals import Principal
from modelyard.identity.bounds import NewKey, check_lent, check_new, check_overlap, check_within
from modelyard.identity.roster import find_member
from modelyard.store.database import Session, Store
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

PREFIX = "my_"
_ALPHABET = string.ascii_letters + string.digits


class KeyService:
    """Issues, lists, rotates and revokes keys; each change with its audit row in the same transaction. Safe to use from several
    threads.

    Also a source of grants straight from the database, for processes that do not act on snapshots.
    """

    seen_ns = 0

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def create(self, actor: Actor, new: NewKey, within: Grant) -> tuple[Key, str]:
        """A new key in the workspace of ``within``, which is the grant of whoever asks, and its secret, which nothing can show again.

        It is the asker's own, or that of the member whom ``new`` names. Nobody hands out more than they hold, and no key more than
        its principal may do. Raises InvalidRequest, NotFound for a deployment or member that does not exist, PermissionDenied.
        """
        check_new(new)
        check_within(new, within, self._clock.time_ns())
        with self._store.write() as session:
            _check_deployments(session, within.workspace_id, new.deployments)
            principal_id = within.principal_id
            if new.principal:
                principal_id = find_member(session, within.workspace_id, new.principal).id
                _check_principal(session, within.workspace_id, principal_id, new)
            return add_key(session, actor, within.workspace_id, principal_id, new, self._clock.time_ns())

    def for_person(self, person: Principal, workspace: str, hours: float, visitor: Actor) -> tuple[Key, str]:
        """A short-lived key of a person who has just signed in, with all that the person may do in a workspace; without a name, in
        the only one of which it is a member. Raises NotFound, InvalidRequest.
        """
        with self._store.write() as session:
            mine = [found for found in session.workspaces.list() if _may(session, found.id, person.id)]
            named = [found for found in mine if found.name == workspace] if workspace else mine
            if workspace and not named:
                raise NotFound(f"There is no workspace {workspace[:63]!r} that you are a member of.")
            if len(named) != 1:
                told = ", ".join(found.name for found in named) or "none"
                raise InvalidRequest(f"Say in which workspace the key shall work; yours are: {told}.")
            actions = tuple(_may(session, named[0].id, person.id))
            actor = msgspec.structs.replace(visitor, name=f"person:{person.name}", workspace_id=named[0].id)
            new = NewKey(label="sign-in", actions=actions, expires_seconds=hours * 3600)
            return add_key(session, actor, named[0].id, person.id, new, self._clock.time_ns())

    def list(self, workspace_id: int, principal_id: int | None = None) -> list[Key]:
        """Keys of a workspace, or of one principal in it, oldest first, revoked and expired ones too."""
        with self._store.read() as session:
            if principal_id is not None:
                return session.keys.of_principal(workspace_id, principal_id)
            return session.keys.list(workspace_id)

    def get(self, workspace_id: int, public_id: str, principal_id: int | None = None) -> Key:
        """One key; with a principal, only one of its own. Raises NotFound."""
        with self._store.read() as session:
            return _need(session, workspace_id, public_id, principal_id)

    def rotate(self, actor: Actor, public_id: str, overlap_seconds: float, within: Grant) -> tuple[Key, str]:
        """Gives a key a new secret; the one before works for ``overlap_seconds`` more. Id, limits and usage stay the key's.

        A key that expires is valid from now for as long as it was made for, though not beyond ``within``, the grant of whoever asks.
        Raises NotFound, InvalidRequest, PermissionDenied for a key that reaches beyond that, Conflict for one that has ended, or whose
        last rotation is not over.
        """
        check_overlap(overlap_seconds)
        now = self._clock.time_ns()
        with self._store.write() as session:
            key = _need(session, within.workspace_id, public_id)
            check_lent(key, within)
            if key.revoked_ns or 0 < key.expires_ns <= now:
                raise Conflict(f"Key {public_id!r} is not valid any more, so it cannot be rotated; create another.")
            if overlap_seconds and key.previous_digest and key.previous_until_ns > now:
                raise Conflict(
                    f"Key {public_id!r} was rotated already, and its secret before is valid until {key.previous_until_ns // 10**9} "
                    "(seconds since 1970); wait until then, or rotate without an overlap, which ends both old secrets now."
                )
            until = now + int(overlap_seconds * 1e9) if overlap_seconds else 0
            secret = new_secret(public_id)
            made = session.keys.rotate(key, secret_digest(secret), until, _renewed(key, now, within.expires_ns))
            after = {"previous_until_ns": until, "expires_ns": made.expires_ns}
            session.audit.append(actor, "key.rotate", public_id, before={"expires_ns": key.expires_ns}, after=after)
            return made, secret

    def revoke(self, actor: Actor, public_id: str) -> Key:
        """Ends a key; workers refuse it as soon as they see the next snapshot. Revoking it again changes nothing.

        Raises NotFound; Conflict for the last key that can administer, because nobody could issue another one then.
        """
        now = self._clock.time_ns()
        with self._store.write() as session:
            key = _need(session, actor.workspace_id, public_id)
            if key.revoked_ns:
                return key
            if administers(session, key):
                others = [other for other in session.keys.active(now) if other.id != key.id]
                if not any(administers(session, other) for other in others):
                    raise Conflict(
                        f"Key {public_id!r} is the last one that can administer; create another with all rights before revoking it."
                    )
            return revoke_key(session, actor, key, now)

    def grant(self, digest: bytes) -> Grant | None:
        """The grant of the key with this SHA-256, from the database; None when it is unknown, revoked or left without a right."""
        wanted = digest.hex()
        with self._store.read() as session:
            key = session.keys.by_digest(wanted)
            may = session.memberships.rights(key.principal_id) if key is not None else None
        if key is None or may is None or key.revoked_ns:
            return None
        if not compare_digest(key.digest, wanted):
            if key.previous_digest is None or not compare_digest(key.previous_digest, wanted):
                return None
            ends = min(key.previous_until_ns, key.expires_ns or key.previous_until_ns)
            key = msgspec.structs.replace(key, expires_ns=ends)
        bounded = within_rights(key, may.of(key.workspace_id, key.principal_id))
        return grant_of(bounded) if bounded is not None else None


def _may(session: Session, workspace_id: int, principal_id: int) -> frozenset[Action]:
    return session.memberships.rights(principal_id).of(workspace_id, principal_id)


def within_rights(key: Key, may: frozenset[Action]) -> Key | None:
    """The key with what is left of its actions when its principal may do ``may``; None when nothing is."""
    if may.issuperset(key.actions):
        return key
    actions = tuple(action for action in key.actions if action in may)
    return msgspec.structs.replace(key, actions=actions) if actions else None


def new_secret(public_id: str) -> str:
    return f"{PREFIX}{public_id}_{''.join(secrets.choice(_ALPHABET) for _ in range(40))}"


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
        principal_id=key.principal_id,
        networks=key.networks,
    )


def add_key(  # noqa: PLR0917 - what a key is made of
    session: Session, actor: Actor, workspace_id: int, principal_id: int, new: NewKey, now_ns: int, given: str = ""
) -> tuple[Key, str]:
    """Stores a key with its audit row, unchecked."""
    public_id = secrets.token_hex(5)
    secret = given or new_secret(public_id)
    key = session.keys.add(
        Key(
            id=0,
            workspace_id=workspace_id,
            principal_id=principal_id,
            public_id=public_id,
            digest=secret_digest(secret),
            label=new.label,
            actions=tuple(sorted(set(new.actions))),
            deployments=tuple(sorted(set(new.deployments))),
            networks=tuple(dict.fromkeys(new.networks)),
            created_by=actor.name,
            created_ns=now_ns,
            expires_ns=now_ns + int(new.expires_seconds * 1e9) if new.expires_seconds else 0,
        )
    )
    after = {name: getattr(key, name) for name in ("label", "actions", "deployments", "networks", "expires_ns", "principal_id")}
    session.audit.append(actor, "key.create", public_id, after=after)
    return key, secret


def revoke_key(session: Session, actor: Actor, key: Key, now_ns: int) -> Key:
    """Ends a key, with its audit row, unchecked."""
    revoked = session.keys.revoke(key.workspace_id, key.public_id, now_ns)
    session.audit.append(actor, "key.revoke", key.public_id, before={"revoked_ns": 0}, after={"revoked_ns": now_ns})
    return revoked


def administers(session: Session, key: Key) -> bool:
    """Whether a key can do everything, in the workspace that every home has, from everywhere."""
    if key.workspace_id != DEFAULT_WORKSPACE_ID or key.deployments or key.networks:
        return False
    able = session.memberships.rights(key.principal_id).of(key.workspace_id, key.principal_id)
    return frozenset(Action).issubset(able.intersection(key.actions))


def _renewed(key: Key, now_ns: int, most_ns: int) -> int:
    if not key.expires_ns:
        return 0
    renewed = now_ns + key.expires_ns - (key.rotated_ns or key.created_ns)
    return max(key.expires_ns, min(renewed, most_ns)) if most_ns else renewed


def _check_principal(session: Session, workspace_id: int, principal_id: int, new: NewKey) -> None:
    may = session.memberships.rights(principal_id).of(workspace_id, principal_id)
    more = set(new.actions) - may
    if more:
        raise PermissionDenied(
            f"{new.principal!r} may not {', '.join(sorted(more))} in this workspace, so no key of its may; give it a role that may."
        )


def _check_deployments(session: Session, workspace_id: int, names: tuple[str, ...]) -> None:
    if not names:
        return
    known = {deployment.name for deployment in session.deployments.list(workspace_id)}
    known |= {share.name for share in session.shares.received(workspace_id)}
    for name in names:
        if name not in known:
            raise NotFound(f"There is no deployment {name!r} for the key to call.{did_you_mean(name, known)} Deploy it first.")


def _need(session: Session, workspace_id: int, public_id: str, principal_id: int | None = None) -> Key:
    key = session.keys.get(workspace_id, public_id)
    if key is None or (principal_id is not None and key.principal_id != principal_id):
        known = session.keys.list(workspace_id) if principal_id is None else session.keys.of_principal(workspace_id, principal_id)
        raise NotFound(f"There is no key {public_id!r}.{did_you_mean(public_id, [other.public_id for other in known])}")
    return key

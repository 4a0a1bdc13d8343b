"""Keys: never the secret, only its hash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, insert, or_, select, update

from modelyard.core.access import Key
from modelyard.core.clock import Clock
from modelyard.core.errors import AlreadyExists, NotFound
from modelyard.store.rows import decode, encode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import keys

Keys = list[Key]
_AT_ONCE = 500
"""Keys that one statement names."""


class KeysTable:
    """Rows of ``keys``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, key: Key) -> Key:
        """Stores a key; the same with its id and time.

        Raises AlreadyExists when its public id or its secret is in use.
        """
        taken = select(keys.c.id).where(
            or_(keys.c.public_id == key.public_id, keys.c.digest == key.digest, keys.c.previous_digest == key.digest)
        )
        if self._connection.execute(taken).first() is not None:
            raise AlreadyExists(f"There is a key {key.public_id!r} already, or one with the same secret.")
        made = msgspec.structs.replace(key, created_ns=key.created_ns or self._clock.time_ns())
        values = encode(made) | {"changed": SettingsTable(self._connection).bump(STATE)}
        identity = self._connection.execute(insert(keys).values(**values).returning(keys.c.id)).scalar_one()
        return msgspec.structs.replace(made, id=identity)

    def get(self, workspace_id: int, public_id: str) -> Key | None:
        found = self._load(select(keys).where(keys.c.workspace_id == workspace_id, keys.c.public_id == public_id))
        return found[0] if found else None

    def by_digest(self, digest: str) -> Key | None:
        """The key of any workspace with this SHA-256 (hex), or that had it before its rotation; revoked and expired ones too."""
        found = self._load(select(keys).where(or_(keys.c.digest == digest, keys.c.previous_digest == digest)))
        return found[0] if found else None

    def of_principal(self, workspace_id: int, principal_id: int) -> Keys:
        """A principal's keys in a workspace, oldest first, revoked and expired ones too."""
        return self._load(select(keys).where(keys.c.workspace_id == workspace_id, keys.c.principal_id == principal_id).order_by(keys.c.id))

    def list(self, workspace_id: int) -> Keys:
        """Keys of a workspace, oldest first, revoked and expired ones too."""
        return self._load(select(keys).where(keys.c.workspace_id == workspace_id).order_by(keys.c.id))

    def revoke(self, workspace_id: int, public_id: str, time_ns: int) -> Key:
        """Ends a key at ``time_ns``; one that was revoked before keeps its time.

        Raises NotFound.
        """
        key = self.get(workspace_id, public_id)
        if key is None:
            raise NotFound(f"There is no key {public_id!r}.")
        if key.revoked_ns:
            return key
        return self._change(key, revoked_ns=time_ns)

    def rotate(self, key: Key, digest: str, until_ns: int, expires_ns: int) -> Key:
        """Gives a key another secret; the one before stays valid until ``until_ns`` (0: it ends now), and older ones end."""
        previous = key.digest if until_ns else None
        now = self._clock.time_ns()
        return self._change(key, digest=digest, previous_digest=previous, previous_until_ns=until_ns, expires_ns=expires_ns, rotated_ns=now)

    def used(self, minutes: Mapping[int, int]) -> None:
        """Remembers when keys were used last, by id; only ever later than before. Workers need not know."""
        together: defaultdict[int, list[int]] = defaultdict(list)
        for identity, time_ns in minutes.items():
            together[time_ns].append(identity)
        for time_ns, identities in together.items():
            for at in range(0, len(identities), _AT_ONCE):
                some = keys.c.id.in_(identities[at : at + _AT_ONCE])
                self._connection.execute(update(keys).where(some, keys.c.used_ns < time_ns).values(used_ns=time_ns))

    def _change(self, key: Key, **values: Any) -> Key:
        made = msgspec.structs.replace(key, revision=key.revision + 1, **values)
        changed = SettingsTable(self._connection).bump(STATE)
        self._connection.execute(update(keys).where(keys.c.id == key.id).values(revision=made.revision, changed=changed, **values))
        return made

    def active(self, now_ns: int) -> Keys:
        """Keys of every workspace that are neither revoked nor expired, by id."""
        return self._load(select(keys).where(_valid(now_ns)).order_by(keys.c.id))

    def changed_since(self, counter: int) -> Keys:
        """Keys that were made or changed since ``STATE`` stood at ``counter``, by id; revoked and expired ones too."""
        return self._load(select(keys).where(keys.c.changed > counter).order_by(keys.c.id))

    def _load(self, query: Select[Any]) -> Keys:
        return [decode(row, Key) for row in self._connection.execute(query).mappings()]


def _valid(now_ns: int) -> ColumnElement[bool]:
    return (keys.c.revoked_ns == 0) & or_(keys.c.expires_ns == 0, keys.c.expires_ns > now_ns)

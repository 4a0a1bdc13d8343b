"""The audit log: one row per change of management, chained by hashes so that tampering shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from modelyard.core.clock import Clock
from modelyard.core.events import Actor, AuditEvent
from modelyard.store.rows import decode, encode
from modelyard.store.tables import audit


class AuditTable:
    """Rows of ``audit``; they are only ever added, in the transaction of the change they tell of."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def append(
        self, actor: Actor, action: str, subject: str, before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None
    ) -> AuditEvent:
        """Adds a row at the end of the chain of the actor's workspace."""
        newest = select(audit.c.hash).where(audit.c.workspace_id == actor.workspace_id).order_by(audit.c.id.desc()).limit(1)
        event = AuditEvent(
            id=0,
            workspace_id=actor.workspace_id,
            time_ns=self._clock.time_ns(),
            actor=actor.name,
            address=actor.address,
            request_id=actor.request_id,
            action=action,
            subject=subject,
            before=_plain(before),
            after=_plain(after),
            previous_hash=self._connection.execute(newest).scalar_one_or_none() or "",
        )
        event = msgspec.structs.replace(event, hash=chain_hash(event))
        values = encode(event)
        identity = self._connection.execute(insert(audit).values(**values).returning(audit.c.id)).scalar_one()
        return msgspec.structs.replace(event, id=identity)

    def list(self, workspace_id: int, *, limit: int = 100, before_id: int = 0) -> list[AuditEvent]:
        """Rows, newest first; those older than ``before_id`` where one is given."""
        query = select(audit).where(audit.c.workspace_id == workspace_id)
        if before_id:
            query = query.where(audit.c.id < before_id)
        rows = self._connection.execute(query.order_by(audit.c.id.desc()).limit(limit)).mappings()
        return [decode(row, AuditEvent) for row in rows]

    def first_broken(self, workspace_id: int) -> int:
        """Id of the oldest row that does not continue the chain; 0 when the whole chain holds."""
        previous = ""
        query = select(audit).where(audit.c.workspace_id == workspace_id).order_by(audit.c.id)
        for row in self._connection.execute(query).mappings():
            event = decode(row, AuditEvent)
            if event.previous_hash != previous or event.hash != chain_hash(event):
                return event.id
            previous = event.hash
        return 0


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any]:
    # As it will be read back, so that its hash is the same then: tuples are lists, enums texts, NaN null.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(values or {})))
    return plain


def chain_hash(event: AuditEvent) -> str:
    """SHA-256 over a row and the hash before it; its own id and hash do not count."""
    bare = msgspec.structs.replace(event, id=0, hash="")
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()

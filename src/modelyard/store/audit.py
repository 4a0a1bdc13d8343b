"""The audit log: one row per change of management, chained by hashes so that tampering shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select

from modelyard.core.clock import Clock
from modelyard.core.events import Actor, AuditEvent, AuditHead
from modelyard.store.rows import decode, encode
from modelyard.store.tables import audit, audit_heads

Events = list[AuditEvent]
Heads = list[AuditHead]
_PAGE = 500


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

    def events(self, workspace_id: int) -> Iterator[AuditEvent]:
        """All rows, oldest first, a page in memory."""
        query = select(audit).where(audit.c.workspace_id == workspace_id).order_by(audit.c.id)
        for row in self._connection.execute(query, execution_options={"yield_per": _PAGE}).mappings():
            yield decode(row, AuditEvent)

    def last(self, workspace_id: int, subject: str, actions: Sequence[str], until_ns: int) -> AuditEvent | None:
        """The newest row of one of these actions on a subject, not later than a time."""
        query = select(audit).where(
            audit.c.workspace_id == workspace_id,
            audit.c.subject == subject,
            audit.c.action.in_(actions),
            audit.c.time_ns <= until_ns,
        )
        row = self._connection.execute(query.order_by(audit.c.id.desc()).limit(1)).mappings().one_or_none()
        return None if row is None else decode(row, AuditEvent)

    def newest(self) -> Events:
        """The last row of each workspace's log."""
        last = select(func.max(audit.c.id)).group_by(audit.c.workspace_id)
        rows = self._connection.execute(select(audit).where(audit.c.id.in_(last)).order_by(audit.c.workspace_id)).mappings()
        return [decode(row, AuditEvent) for row in rows]

    def count(self, workspace_id: int, up_to: int) -> int:
        """How many rows a workspace's log has up to the one with id ``up_to``."""
        where = (audit.c.workspace_id == workspace_id) & (audit.c.id <= up_to)
        return int(self._connection.execute(select(func.count()).where(where)).scalar_one())

    def first_broken(self, workspace_id: int) -> int:
        """Id of the oldest row that does not continue the chain; 0 when the whole chain holds."""
        previous = ""
        for event in self.events(workspace_id):
            if event.previous_hash != previous or event.hash != chain_hash(event):
                return event.id
            previous = event.hash
        return 0

    def add_head(self, head: AuditHead) -> AuditHead:
        """Adds a signed head; the same with its id."""
        identity = self._connection.execute(insert(audit_heads).values(**encode(head)).returning(audit_heads.c.id)).scalar_one()
        return msgspec.structs.replace(head, id=identity)

    def heads(self, workspace_id: int) -> Heads:
        """Signed heads, oldest first."""
        query = select(audit_heads).where(audit_heads.c.workspace_id == workspace_id).order_by(audit_heads.c.id)
        return [decode(row, AuditHead) for row in self._connection.execute(query).mappings()]

    def last_head(self, workspace_id: int, signer: str) -> AuditHead | None:
        """The newest head that ``signer`` has signed."""
        query = select(audit_heads).where(audit_heads.c.workspace_id == workspace_id, audit_heads.c.signer == signer)
        query = query.order_by(audit_heads.c.id.desc()).limit(1)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else decode(row, AuditHead)


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any]:
    # As it will be read back, so that its hash is the same then: tuples are lists, enums texts, NaN null.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(values or {})))
    return plain


def chain_hash(event: AuditEvent) -> str:
    """SHA-256 over a row and the hash before it; its own id and hash do not count."""
    bare = msgspec.structs.replace(event, id=0, hash="")
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()

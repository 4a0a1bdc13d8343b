"""Pools: what each workspace's jobs may hold."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, insert, select

from modelyard.core.clock import Clock
from modelyard.core.jobs import WorkspacePool
from modelyard.store.rows import decode
from modelyard.store.tables import pools

Pools = list[WorkspacePool]


class PoolsTable:
    """Rows of ``pools``; a workspace without one has no bound of its own."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def set(self, pool: WorkspacePool) -> WorkspacePool:
        """Stores a workspace's pool in place of what it had; the same with its time."""
        made = msgspec.structs.replace(pool, updated_ns=self._clock.time_ns())
        self.remove(pool.workspace_id)
        self._connection.execute(insert(pools).values(**msgspec.structs.asdict(made)))
        return made

    def get(self, workspace_id: int) -> WorkspacePool:
        """A workspace's pool; without any bound when none was set."""
        row = self._connection.execute(select(pools).where(pools.c.workspace_id == workspace_id)).mappings().first()
        return decode(row, WorkspacePool) if row is not None else WorkspacePool(workspace_id=workspace_id)

    def all(self) -> Pools:
        """Every pool that was set."""
        return [decode(row, WorkspacePool) for row in self._connection.execute(select(pools).order_by(pools.c.workspace_id)).mappings()]

    def remove(self, workspace_id: int) -> None:
        """Lifts a workspace's bounds."""
        self._connection.execute(delete(pools).where(pools.c.workspace_id == workspace_id))

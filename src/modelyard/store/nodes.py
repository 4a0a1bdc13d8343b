"""Nodes: which homes work on this database at the moment."""

from __future__ import annotations

from sqlalchemy import Connection, select

from modelyard.core.clock import Clock
from modelyard.store.settings import SettingsTable
from modelyard.store.tables import settings

BEAT_SECONDS = 10.0
GONE_SECONDS = 45.0
"""After so long without a beat a node counts as gone."""
_PREFIX = "node:"


class NodesTable:
    """When each node was last seen: settings of their own names."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._settings, self._connection, self._clock = SettingsTable(connection), connection, clock

    def beat(self, node: str) -> None:
        """Says that a node is there."""
        self._settings.put(_PREFIX + node, str(self._clock.time_ns()))

    def leave(self, node: str) -> None:
        """Says that a node has ended."""
        self._settings.remove(_PREFIX + node)

    def others(self, node: str) -> list[str]:
        """Nodes that are there besides this one."""
        since = self._clock.time_ns() - int(GONE_SECONDS * 1e9)
        rows = self._connection.execute(select(settings).where(settings.c.name.startswith(_PREFIX, autoescape=True)))
        seen = {row.name.removeprefix(_PREFIX): int(row.value) for row in rows}
        return sorted(name for name, at in seen.items() if name != node and at > since)

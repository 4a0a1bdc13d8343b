"""Settings and counters of the whole platform, by name."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from modelyard.store.tables import settings

STATE = "state"
"""Counter that grows with every change workers must learn of; the snapshot is published when it has moved."""


class SettingsTable:
    """Named texts, and counters kept in them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> str | None:
        found: str | None = self._connection.execute(select(settings.c.value).where(settings.c.name == name)).scalar_one_or_none()
        return found

    def put(self, name: str, value: str) -> None:
        changed = self._connection.execute(update(settings).where(settings.c.name == name).values(value=value))
        if not changed.rowcount:
            self._connection.execute(insert(settings).values(name=name, value=value))

    def remove(self, name: str) -> None:
        self._connection.execute(delete(settings).where(settings.c.name == name))

    def count(self, name: str) -> int:
        """What the counter ``name`` stands at; 0 before its first bump."""
        return int(self.get(name) or 0)

    def bump(self, name: str) -> int:
        """Adds one to the counter ``name``; its new value."""
        value = self.count(name) + 1
        self.put(name, str(value))
        return value

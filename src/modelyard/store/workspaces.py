"""Workspaces: the tenants."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select

from modelyard.core.clock import Clock
from modelyard.core.errors import AlreadyExists
from modelyard.core.models import check_name
from modelyard.store.rows import decode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import workspaces

DEFAULT_WORKSPACE = "default"
DEFAULT_WORKSPACE_ID = 1


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant: owns models, datasets, deployments and keys."""

    id: int
    name: str
    created_ns: int = 0


class WorkspacesTable:
    """Rows of ``workspaces``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def get(self, workspace_id: int) -> Workspace | None:
        row = self._connection.execute(select(workspaces).where(workspaces.c.id == workspace_id)).mappings().one_or_none()
        return None if row is None else decode(row, Workspace)

    def by_name(self, name: str) -> Workspace | None:
        row = self._connection.execute(select(workspaces).where(workspaces.c.name == name)).mappings().one_or_none()
        return None if row is None else decode(row, Workspace)

    def list(self) -> list[Workspace]:
        return [decode(row, Workspace) for row in self._connection.execute(select(workspaces).order_by(workspaces.c.id)).mappings()]

    def create(self, name: str) -> Workspace:
        """A new workspace.

        Raises AlreadyExists when the name is taken, InvalidRequest when it is no name.
        """
        check_name(name, "workspace")
        if self.by_name(name) is not None:
            raise AlreadyExists(f"There is a workspace {name!r} already; choose another name.")
        now = self._clock.time_ns()
        made = self._connection.execute(insert(workspaces).values(name=name, created_ns=now).returning(workspaces.c.id)).scalar_one()
        SettingsTable(self._connection).bump(STATE)
        return Workspace(id=made, name=name, created_ns=now)

"""Workspaces: the tenants."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from modelyard.core.clock import Clock
from modelyard.core.errors import AlreadyExists, Conflict, NotFound
from modelyard.core.models import check_name
from modelyard.store.rows import decode, encode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import workspaces

DEFAULT_WORKSPACE = "default"
DEFAULT_WORKSPACE_ID = 1


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant: owns models, datasets, deployments and keys."""

    id: int
    name: str
    created_ns: int = 0
    removed_ns: int = 0
    """Since when it is no more; its audit log and usage stay."""
    revision: int = 1


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
        """Those that are, by id."""
        query = select(workspaces).where(workspaces.c.removed_ns == 0).order_by(workspaces.c.id)
        return [decode(row, Workspace) for row in self._connection.execute(query).mappings()]

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

    def rename(self, workspace_id: int, name: str, expect_revision: int | None = None) -> Workspace:
        """Gives a workspace another name. Raises NotFound, AlreadyExists, InvalidRequest, Conflict when somebody was faster."""
        check_name(name, "workspace")
        current = self._need(workspace_id)
        if expect_revision is not None and current.revision != expect_revision:
            raise Conflict(
                f"Workspace {current.name!r} is at revision {current.revision}, not {expect_revision}: it has changed; read it again."
            )
        if name == current.name:
            return current
        if self.by_name(name) is not None:
            raise AlreadyExists(f"There is a workspace {name!r} already; choose another name.")
        return self._change(msgspec.structs.replace(current, name=name))

    def remove(self, workspace_id: int) -> Workspace:
        """Ends a workspace and frees its name. The row stays: the audit log and usage belong to it. Raises NotFound."""
        current = self._need(workspace_id)
        # No name of a workspace has a "~", so this one is never in anybody's way.
        made = msgspec.structs.replace(current, name=f"{current.name[:40]}~{current.id}", removed_ns=self._clock.time_ns())
        return self._change(made)

    def _need(self, workspace_id: int) -> Workspace:
        found = self.get(workspace_id)
        if found is None or found.removed_ns:
            raise NotFound("There is no such workspace.")
        return found

    def _change(self, wish: Workspace) -> Workspace:
        made = msgspec.structs.replace(wish, revision=wish.revision + 1)
        self._connection.execute(update(workspaces).where(workspaces.c.id == made.id).values(**encode(made)))
        SettingsTable(self._connection).bump(STATE)
        return made

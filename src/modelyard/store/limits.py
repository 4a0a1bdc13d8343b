"""Limits: what people have set."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from modelyard.core.clock import Clock
from modelyard.core.errors import AlreadyExists, Conflict, NotFound
from modelyard.core.limits import Limit, Scope
from modelyard.core.shares import share_subject
from modelyard.store.rows import decode, encode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import leases, limits

Limits = list[Limit]


class LimitsTable:
    """Rows of ``limits``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, limit: Limit) -> Limit:
        """Stores a new limit at revision 1; the same with its id and times.

        Raises AlreadyExists when its subject has one of this measure and window.
        """
        if self.find(limit) is not None:
            raise AlreadyExists("There is a limit of this measure and window already; change it.")
        now = self._clock.time_ns()
        made = msgspec.structs.replace(limit, created_ns=now, updated_ns=now, revision=1)
        identity = self._connection.execute(insert(limits).values(**encode(made)).returning(limits.c.id)).scalar_one()
        SettingsTable(self._connection).bump(STATE)
        return msgspec.structs.replace(made, id=identity)

    def get(self, workspace_id: int, limit_id: int) -> Limit | None:
        query = select(limits).where(limits.c.workspace_id == workspace_id, limits.c.id == limit_id)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else decode(row, Limit)

    def find(self, like: Limit) -> Limit | None:
        """The stored limit of the same scope, subject, measure and window."""
        names = ("workspace_id", "scope", "subject", "measure", "window")
        query = select(limits).where(*(limits.c[name] == getattr(like, name) for name in names))
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else decode(row, Limit)

    def list(self, workspace_id: int) -> Limits:
        """Limits that a workspace has set, by scope and subject."""
        query = select(limits).where(limits.c.workspace_id == workspace_id).order_by(limits.c.scope, limits.c.subject, limits.c.id)
        return [decode(row, Limit) for row in self._connection.execute(query).mappings()]

    def all(self) -> Limits:
        """Limits of every workspace, by id."""
        return [decode(row, Limit) for row in self._connection.execute(select(limits).order_by(limits.c.id)).mappings()]

    def platform(self) -> Limits:
        """Limits on the whole platform."""
        return [limit for limit in self.all() if limit.scope is Scope.PLATFORM]

    def change(self, workspace_id: int, limit_id: int, amount: int, expect_revision: int) -> Limit:
        """Gives a limit another amount, as its next revision; what is stored now.

        Raises NotFound, or Conflict when somebody has changed it since ``expect_revision``.
        """
        current = self._need(workspace_id, limit_id)
        if current.revision != expect_revision:
            raise Conflict(f"Limit {limit_id} ({current.text}) is at revision {current.revision}, not {expect_revision}: read it again.")
        made = msgspec.structs.replace(current, amount=amount, updated_ns=self._clock.time_ns(), revision=current.revision + 1)
        values = {"amount": made.amount, "updated_ns": made.updated_ns, "revision": made.revision}
        self._connection.execute(update(limits).where(limits.c.id == limit_id).values(**values))
        SettingsTable(self._connection).bump(STATE)
        return made

    def rename_borrower(self, before: str, after: str) -> None:
        """Lets limits on shares with a workspace name it as it is called now."""
        for limit in self.all():
            deployment, _, borrower = limit.subject.partition("/")
            if limit.scope is Scope.SHARE and borrower == before:
                subject = share_subject(deployment, after)
                self._connection.execute(update(limits).where(limits.c.id == limit.id).values(subject=subject))
        SettingsTable(self._connection).bump(STATE)

    def remove(self, workspace_id: int, limit_id: int) -> Limit:
        """Deletes a limit with what is leased of it; what it was.

        Raises NotFound.
        """
        current = self._need(workspace_id, limit_id)
        self._connection.execute(delete(leases).where(leases.c.limit_id == limit_id))
        self._connection.execute(delete(limits).where(limits.c.id == limit_id))
        SettingsTable(self._connection).bump(STATE)
        return current

    def _need(self, workspace_id: int, limit_id: int) -> Limit:
        found = self.get(workspace_id, limit_id)
        if found is None:
            raise NotFound(f"There is no limit {limit_id}.")
        return found

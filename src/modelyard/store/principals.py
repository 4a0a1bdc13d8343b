"""Principals and what they are in which workspace."""

from __future__ import annotations

import builtins
from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, delete, insert, select, true, update

from modelyard.core.clock import Clock
from modelyard.core.errors import AlreadyExists, Conflict, NotFound
from modelyard.core.principals import Membership, Principal, PrincipalKind, Rights
from modelyard.store.rows import decode, encode
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import memberships, principals
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

RIGHTS = "rights"
"""Counter that grows with every change of what principals may do."""


class PrincipalsTable:
    """Rows of ``principals``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, principal: Principal) -> Principal:
        """Stores a new principal; the same with its id and time. Raises AlreadyExists when its kind has one of this name there."""
        if self.named(principal.workspace_id, principal.kind, principal.name) is not None:
            raise AlreadyExists(f"There is a {principal.kind.value} {principal.name!r} already; choose another name.")
        made = msgspec.structs.replace(principal, created_ns=self._clock.time_ns(), revision=1)
        identity = self._connection.execute(insert(principals).values(**encode(made)).returning(principals.c.id)).scalar_one()
        _moved(self._connection)
        return msgspec.structs.replace(made, id=identity)

    def get(self, principal_id: int) -> Principal | None:
        row = self._connection.execute(select(principals).where(principals.c.id == principal_id)).mappings().one_or_none()
        return None if row is None else decode(row, Principal)

    def named(self, workspace_id: int, kind: PrincipalKind, name: str) -> Principal | None:
        """A service of a workspace, or a person, whose workspace is the one that every home has."""
        query = select(principals).where(
            principals.c.workspace_id == workspace_id, principals.c.kind == kind.value, principals.c.name == name
        )
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else decode(row, Principal)

    def find(self, workspace_id: int, name: str) -> Principal | None:
        """Whom a workspace means by a name: its service, or else the person."""
        return self.named(workspace_id, PrincipalKind.SERVICE, name) or self.named(DEFAULT_WORKSPACE_ID, PrincipalKind.PERSON, name)

    def names(self, ids: Collection[int]) -> dict[int, str]:
        """Their names by id."""
        found = self._connection.execute(select(principals.c.id, principals.c.name).where(principals.c.id.in_(ids)))
        return {row.id: row.name for row in found}

    def of_subject(self, issuer: str, subject: str) -> Principal | None:
        """The person whom an OpenID provider knows by ``subject``."""
        query = select(principals).where(principals.c.issuer == issuer, principals.c.subject == subject)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else decode(row, Principal)

    def people(self) -> list[Principal]:
        """Every person, by name."""
        query = select(principals).where(principals.c.kind == PrincipalKind.PERSON.value).order_by(principals.c.name)
        return [decode(row, Principal) for row in self._connection.execute(query).mappings()]

    def change(self, principal: Principal, expect_revision: int) -> Principal:
        """Writes what may change of a principal as its next revision; what is stored now.

        Raises NotFound, or Conflict when somebody has changed it since ``expect_revision``.
        """
        current = self.get(principal.id)
        if current is None:
            raise NotFound(f"There is no {principal.kind.value} {principal.name!r}.")
        if current.revision != expect_revision:
            raise Conflict(f"{principal.name!r} is at revision {current.revision}, not {expect_revision}: it has changed; read it again.")
        made = msgspec.structs.replace(principal, revision=current.revision + 1)
        self._connection.execute(update(principals).where(principals.c.id == principal.id).values(**encode(made)))
        _moved(self._connection)
        return made


class MembershipsTable:
    """Rows of ``memberships``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def get(self, workspace_id: int, principal_id: int) -> Membership | None:
        query = select(memberships).where(memberships.c.workspace_id == workspace_id, memberships.c.principal_id == principal_id)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else decode(row, Membership)

    def list(self, workspace_id: int) -> list[Membership]:
        """Memberships of a workspace, oldest first."""
        query = select(memberships).where(memberships.c.workspace_id == workspace_id).order_by(memberships.c.id)
        return [decode(row, Membership) for row in self._connection.execute(query).mappings()]

    def of(self, principal_id: int) -> builtins.list[Membership]:
        """Where a principal is a member, by workspace."""
        query = select(memberships).where(memberships.c.principal_id == principal_id).order_by(memberships.c.workspace_id)
        return [decode(row, Membership) for row in self._connection.execute(query).mappings()]

    def put(self, membership: Membership, expect_revision: int) -> Membership:
        """Writes what a principal is in a workspace; what is stored now. ``expect_revision`` 0 means that it was none.

        Raises Conflict when somebody has changed it since.
        """
        current = self.get(membership.workspace_id, membership.principal_id)
        stands = current.revision if current is not None else 0
        if stands != expect_revision:
            now = f"has {', '.join(current.roles)} at revision {stands}" if current is not None else "is no member any more"
            raise Conflict(f"The member {now}, not at revision {expect_revision}: it has changed; read it again.")
        now_ns = self._clock.time_ns()
        made = msgspec.structs.replace(
            membership,
            id=current.id if current is not None else 0,
            created_ns=current.created_ns if current is not None else now_ns,
            created_by=current.created_by if current is not None else membership.created_by,
            updated_ns=now_ns,
            revision=stands + 1,
        )
        if current is not None:
            self._connection.execute(update(memberships).where(memberships.c.id == current.id).values(**encode(made)))
        else:
            identity = self._connection.execute(insert(memberships).values(**encode(made)).returning(memberships.c.id)).scalar_one()
            made = msgspec.structs.replace(made, id=identity)
        _moved(self._connection)
        return made

    def remove(self, workspace_id: int, principal_id: int) -> None:
        """Ends a membership; keys of the principal there may do nothing from then on. Raises NotFound."""
        where = (memberships.c.workspace_id == workspace_id, memberships.c.principal_id == principal_id)
        if not self._connection.execute(delete(memberships).where(*where)).rowcount:
            raise NotFound("It is no member of this workspace.")
        _moved(self._connection)

    def rights(self, principal_id: int | None = None) -> Rights:
        """What principals may do in which workspace; with an id, that one alone."""
        which = principals.c.id == principal_id if principal_id is not None else true()
        where = memberships.c.principal_id == principal_id if principal_id is not None else true()
        people = [decode(row, Principal) for row in self._connection.execute(select(principals).where(which)).mappings()]
        return Rights(people, [decode(row, Membership) for row in self._connection.execute(select(memberships).where(where)).mappings()])


def _moved(connection: Connection) -> None:
    settings = SettingsTable(connection)
    settings.bump(RIGHTS)
    settings.bump(STATE)

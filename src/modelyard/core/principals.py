"""Who acts: people and services, and what they are in which workspace."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from modelyard.core.access import ALL_ACTIONS, Action, Role, actions_of


class PrincipalKind(StrEnum):
    """What a principal is."""

    PERSON = "person"  # of the whole platform; may be a member of many workspaces
    SERVICE = "service"  # a program, of one workspace


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a service that acts. Keys and sessions are a principal's, and never hold more than it."""

    id: int
    workspace_id: int
    """A service's workspace; people stand in the one that every home has."""
    kind: PrincipalKind
    name: str
    """Unique among people, and among the services of a workspace."""
    display: str = ""
    """A name for reading."""
    issuer: str = ""
    """The OpenID provider that a person signs in with; empty for a local password."""
    subject: str = ""
    """What that provider calls the person, for ever."""
    admin: bool = False
    """Administers the platform: may do everything everywhere."""
    created_by: str = ""
    created_ns: int = 0
    disabled_ns: int = 0
    """Since when it may do nothing; 0 while it may."""
    revision: int = 1


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """What a principal is in a workspace."""

    id: int
    workspace_id: int
    principal_id: int
    roles: tuple[Role, ...]
    trust: bool = False
    """Whether it may also push and train what runs code of its own."""
    created_by: str = ""
    created_ns: int = 0
    updated_ns: int = 0
    revision: int = 1

    @property
    def actions(self) -> frozenset[Action]:
        return actions_of(self.roles, trust=self.trust)


_NOTHING: frozenset[Action] = frozenset()


class Rights:
    """What principals may do in which workspace: the bound of each of their keys there."""

    def __init__(self, principals: Iterable[Principal], memberships: Iterable[Membership]) -> None:
        able = {principal.id: principal for principal in principals if not principal.disabled_ns}
        self.administrators = frozenset(principal.id for principal in able.values() if principal.admin)
        self._members = {(found.workspace_id, found.principal_id): found.actions for found in memberships if found.principal_id in able}

    def of(self, workspace_id: int, principal_id: int) -> frozenset[Action]:
        """Nothing for whoever is no member, or disabled."""
        if principal_id in self.administrators:
            return ALL_ACTIONS
        return self._members.get((workspace_id, principal_id), _NOTHING)


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A principal as the workspace sees it."""

    name: str
    kind: PrincipalKind
    display: str = ""
    roles: tuple[Role, ...]
    trust: bool = False
    actions: tuple[Action, ...] = ()
    """What it may do here by its roles."""
    disabled: bool = False
    created_by: str = ""
    created_ns: int = 0
    updated_ns: int = 0
    revision: int = 1
    """Grows with each change; an edit that names an older one is refused."""


class WorkspaceView(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace as its members see it."""

    name: str
    roles: tuple[Role, ...] = ()
    """The caller's own there; none for an administrator who is no member."""
    created_ns: int = 0
    revision: int = 1

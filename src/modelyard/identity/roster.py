"""Who is who in a workspace: services first, then people, by name."""

from __future__ import annotations

from modelyard.core.errors import NotFound, did_you_mean
from modelyard.core.principals import Membership, Principal, PrincipalKind
from modelyard.store.database import Session


def members(session: Session, workspace_id: int) -> list[tuple[Principal, Membership]]:
    """Everybody with a role in a workspace, oldest membership first."""
    found = [(session.principals.get(member.principal_id), member) for member in session.memberships.list(workspace_id)]
    return [(principal, member) for principal, member in found if principal is not None]


def find_member(session: Session, workspace_id: int, name: str) -> Principal:
    """The principal of this name that is a member of the workspace, or a service of it. Raises NotFound for others."""
    found = session.principals.find(workspace_id, name)
    known = found is not None and (found.kind is PrincipalKind.SERVICE or session.memberships.get(workspace_id, found.id) is not None)
    if found is None or not known:
        names = [principal.name for principal, _ in members(session, workspace_id)]
        raise NotFound(
            f"There is no member {name[:60]!r} in this workspace.{did_you_mean(name, names)} 'modelyard members list' shows them."
        )
    return found

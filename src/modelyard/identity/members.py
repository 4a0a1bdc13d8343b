"""Members: who is what in a workspace; each change with its audit row in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from modelyard.core.access import Action, Grant, Role
from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from modelyard.core.events import Actor
from modelyard.core.models import check_name
from modelyard.core.principals import Member, Membership, Principal, PrincipalKind
from modelyard.identity.keys import revoke_key
from modelyard.identity.roster import find_member, members
from modelyard.store.database import Session, Store

Members = list[Member]


class MemberService:
    """Lists, admits, changes and dismisses members of workspaces. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def list(self, workspace_id: int) -> Members:
        """Everybody with a role, oldest first."""
        with self._store.read() as session:
            return [_view(principal, member) for principal, member in members(session, workspace_id)]

    def get(self, workspace_id: int, name: str) -> Member:
        """One member. Raises NotFound."""
        with self._store.read() as session:
            principal = find_member(session, workspace_id, name)
            return _view(principal, _need(session, workspace_id, principal))

    def put(
        self,
        actor: Actor,
        within: Grant,
        name: str,
        roles: Iterable[Role],
        *,
        trust: bool | None = None,
        service: bool = False,
        expect_revision: int | None = None,
    ) -> Member:
        """Makes somebody a member, or gives a member other roles; with ``service``, a program that is not there yet is made.

        ``trust`` None leaves it as it is; giving it needs it. ``expect_revision`` is what was read before (0: no member). Raises
        NotFound for a person whom the platform does not know, InvalidRequest, PermissionDenied, Conflict when somebody was faster
        or the workspace would lose its last owner.
        """
        wanted = tuple(sorted(set(roles), key=list(Role).index))
        if not wanted:
            raise InvalidRequest(f"A member has at least one role of {', '.join(Role)}; to end a membership, remove it.")
        workspace_id = within.workspace_id
        with self._store.write() as session:
            principal = self._admitted(session, actor, workspace_id, name, service)
            current = session.memberships.get(workspace_id, principal.id)
            trusted = current.trust if trust is None and current is not None else bool(trust)
            if trusted and not (current is not None and current.trust) and not within.allows(Action.TRUST):
                raise PermissionDenied("Only who is trusted with code of models can trust others with it; ask an administrator.")
            if current is not None:
                _check_owners(session, within, current, wanted)
            stands = current.revision if current is not None else 0
            wish = Membership(
                id=0, workspace_id=workspace_id, principal_id=principal.id, roles=wanted, trust=trusted, created_by=actor.name
            )
            expected = stands if expect_revision is None else expect_revision
            if current is not None and expected == stands and (current.roles, current.trust) == (wanted, trusted):
                return _view(principal, current)
            made = session.memberships.put(wish, expected)
            before = _told(current) if current is not None else {}
            session.audit.append(actor, "member.change" if current else "member.add", _subject(principal), before=before, after=_told(made))
            return _view(principal, made)

    def remove(self, actor: Actor, within: Grant, name: str) -> None:
        """Ends a membership and every key that its principal has in the workspace. Raises NotFound, Conflict for the last owner."""
        workspace_id, now = within.workspace_id, self._clock.time_ns()
        with self._store.write() as session:
            principal = find_member(session, workspace_id, name)
            member = _need(session, workspace_id, principal)
            _check_owners(session, within, member, ())
            for key in session.keys.of_principal(workspace_id, principal.id):
                if not key.revoked_ns:
                    revoke_key(session, actor, key, now)
            session.memberships.remove(workspace_id, principal.id)
            session.audit.append(actor, "member.remove", _subject(principal), before=_told(member))

    @staticmethod
    def _admitted(session: Session, actor: Actor, workspace_id: int, name: str, service: bool) -> Principal:
        found = session.principals.find(workspace_id, name)
        if found is not None and (not service or found.kind is PrincipalKind.SERVICE):
            return found
        if not service:
            raise NotFound(
                f"The platform knows no person {name[:60]!r} and this workspace no such service; an administrator adds people with "
                "'modelyard people add', and --service makes a service."
            )
        check_name(name, "service")
        wish = Principal(id=0, workspace_id=workspace_id, kind=PrincipalKind.SERVICE, name=name, created_by=actor.name)
        made = session.principals.add(wish)
        session.audit.append(actor, "principal.create", _subject(made))
        return made


def _check_owners(session: Session, within: Grant, current: Membership, wanted: tuple[Role, ...]) -> None:
    """An administrator may leave a workspace without an owner; owners may not lock themselves out."""
    if Role.OWNER not in current.roles or Role.OWNER in wanted or within.allows(Action.ADMIN):
        return
    others = [member for member in session.memberships.list(within.workspace_id) if member.principal_id != current.principal_id]
    if not any(Role.OWNER in member.roles for member in others):
        raise Conflict("This is the last owner of the workspace; make somebody else an owner first.")


def _need(session: Session, workspace_id: int, principal: Principal) -> Membership:
    member = session.memberships.get(workspace_id, principal.id)
    if member is None:
        raise NotFound(f"There is no member {principal.name!r} in this workspace; 'modelyard members list' shows them.")
    return member


def _subject(principal: Principal) -> str:
    return f"{principal.kind.value}:{principal.name}"


def _told(member: Membership) -> dict[str, Any]:
    return {"roles": list(member.roles), "trust": member.trust}


def _view(principal: Principal, member: Membership) -> Member:
    return msgspec.structs.replace(
        Member(name=principal.name, kind=principal.kind, roles=member.roles),
        display=principal.display,
        trust=member.trust,
        actions=tuple(sorted(member.actions)),
        disabled=bool(principal.disabled_ns),
        created_by=member.created_by,
        created_ns=member.created_ns,
        updated_ns=member.updated_ns,
        revision=member.revision,
    )

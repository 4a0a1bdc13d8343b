"""From a provider's claims to a person with roles."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from modelyard.core.access import Role
from modelyard.core.events import Actor
from modelyard.core.principals import Membership, Principal, PrincipalKind
from modelyard.core.sign_in import Provider
from modelyard.store.database import Session
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

_UNUSABLE = re.compile(r"[^A-Za-z0-9._@+-]+")


def admitted(session: Session, provider: Provider, claims: dict[str, Any], visitor: Actor) -> Principal:
    """The person whom ``claims`` are about, made when it comes for the first time, with the roles that its groups have now.

    Somebody is known by issuer and subject alone: an address or a name that a provider tells never leads to another's account.
    Only workspaces that the provider's rules name are touched.
    """
    person = session.principals.of_subject(provider.issuer, str(claims["sub"]))
    actor = msgspec.structs.replace(visitor, name=f"provider:{provider.name}", workspace_id=DEFAULT_WORKSPACE_ID)
    if person is None:
        person = session.principals.add(
            Principal(
                id=0,
                workspace_id=DEFAULT_WORKSPACE_ID,
                kind=PrincipalKind.PERSON,
                name=_free_name(session, claims),
                display=str(claims.get("name", ""))[:200],
                issuer=provider.issuer,
                subject=str(claims["sub"]),
                created_by=actor.name,
            )
        )
        session.audit.append(actor, "person.add", person.name, after={"issuer": provider.issuer})
    if person.disabled_ns:
        return person
    held = claims.get(provider.groups_claim)
    groups = {str(group) for group in held} if isinstance(held, list) else {held} if isinstance(held, str) else set()
    person = _administering(session, actor, provider, person, groups)
    _put_roles(session, actor, provider, person, groups)
    session.audit.append(
        msgspec.structs.replace(actor, name=f"person:{person.name}"), "person.sign-in", person.name, after={"provider": provider.name}
    )
    return person


def _administering(session: Session, actor: Actor, provider: Provider, person: Principal, groups: set[str]) -> Principal:
    if not any(rule.admin for rule in provider.mapping):
        return person
    wanted = any(rule.admin and rule.group in groups for rule in provider.mapping)
    if wanted == person.admin:
        return person
    session.audit.append(actor, "person.admin", person.name, before={"admin": person.admin}, after={"admin": wanted})
    return session.principals.change(msgspec.structs.replace(person, admin=wanted), person.revision)


def _put_roles(session: Session, actor: Actor, provider: Provider, person: Principal, groups: set[str]) -> None:
    for name in sorted({rule.workspace for rule in provider.mapping if rule.workspace}):
        workspace = session.workspaces.by_name(name)
        if workspace is None:
            continue  # it was removed or renamed; nobody is let into anything
        rules = [rule for rule in provider.mapping if rule.workspace == name and rule.group in groups]
        roles = tuple(role for role in Role if any(role in rule.roles for rule in rules))
        trust = any(rule.trust for rule in rules)
        current = session.memberships.get(workspace.id, person.id)
        before = {"roles": list(current.roles), "trust": current.trust} if current is not None else {}
        after = {"roles": list(roles), "trust": trust} if roles else {}
        if before == after:
            continue
        if roles:
            wish = Membership(id=0, workspace_id=workspace.id, principal_id=person.id, roles=roles, trust=trust, created_by=actor.name)
            session.memberships.put(wish, current.revision if current is not None else 0)
        elif current is not None:
            session.memberships.remove(workspace.id, person.id)
        there = msgspec.structs.replace(actor, workspace_id=workspace.id)
        session.audit.append(there, "member.change", f"person:{person.name}", before=before, after=after)


def _free_name(session: Session, claims: dict[str, Any]) -> str:
    told = next((str(claims[name]) for name in ("preferred_username", "email", "sub") if claims.get(name)), "person")
    name = _UNUSABLE.sub("-", told).strip("-.")[:180] or "person"
    candidate, number = name, 1
    while session.principals.named(DEFAULT_WORKSPACE_ID, PrincipalKind.PERSON, candidate) is not None:
        number += 1
        candidate = f"{name}-{number}"
    return candidate

"""The part of a declared state that says who may do what, how much, and at which price: its changes, and how they are made.

Planning reads and writes nothing, as in ``declared.py``; ``carry_out`` makes one change through the services.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from modelyard.control.document import DeclaredLimit, DeclaredMember, DeclaredPrice, Document
from modelyard.core.access import Action, Role
from modelyard.core.api import ChangeKind
from modelyard.core.errors import InvalidRequest, NotFound, did_you_mean
from modelyard.core.limits import Limit, Measure, Quantity, Scope, Window, parse_money, parse_quantity
from modelyard.core.models import check_name
from modelyard.core.prices import RATES, Price
from modelyard.core.shares import share_subject

if TYPE_CHECKING:
    from modelyard.control.access import Caller


@dataclass(frozen=True)
class CreateWorkspace:
    name: str


@dataclass(frozen=True)
class PutMember:
    name: str
    declared: DeclaredMember


@dataclass(frozen=True)
class RemoveMember:
    name: str


@dataclass(frozen=True)
class SetLimit:
    """``subject`` is a key's label where the scope is a key: which key that is may be known only once it is issued."""

    scope: Scope
    subject: str
    quantity: Quantity


@dataclass(frozen=True)
class RemoveLimit:
    limit_id: int


@dataclass(frozen=True)
class AddPrice:
    price: Price
    version: str


@dataclass(frozen=True)
class ShareDeployment:
    deployment: str
    workspace: str


@dataclass(frozen=True)
class UnshareDeployment:
    deployment: str
    workspace: str


Governing = CreateWorkspace | PutMember | RemoveMember | SetLimit | RemoveLimit | AddPrice | ShareDeployment | UnshareDeployment
Slot = tuple[Scope, str, Measure, Window]
"""What there is at most one limit of; keys by their labels."""


@dataclass(frozen=True)
class Governed:
    """What is, as far as a document's sections ask for it."""

    workspaces: frozenset[str] = frozenset()
    members: Mapping[str, tuple[tuple[Role, ...], bool]] = field(default_factory=dict)
    """Roles and trust by name."""
    limits: Mapping[Slot, Limit] = field(default_factory=dict)
    prices: Mapping[tuple[str, str], Price] = field(default_factory=dict)
    """Those in force, by deployment and version (``model@number``)."""
    shares: frozenset[tuple[str, str]] = frozenset()
    """Deployments and the workspaces that they are shared with."""
    received: frozenset[str] = frozenset()
    """What others share with the workspace."""
    myself: str = ""
    """The member who asks: pruning never removes it."""


@dataclass(frozen=True)
class Line:
    """One change, or a thing that is as it shall be: then without a command."""

    kind: ChangeKind
    what: str
    name: str
    command: Governing | None
    detail: str = ""
    needs: Action = Action.MANAGE


def plan_workspaces(document: Document, state: Governed) -> Iterator[Line]:
    """Before all else."""
    for name in document.workspaces or ():
        check_name(name, "workspace")
        there = name in state.workspaces
        yield Line(_made(there), "workspace", name, None if there else CreateWorkspace(name), needs=Action.ADMIN)


def plan_members(document: Document, state: Governed) -> Iterator[Line]:
    """Before keys."""
    for name, wanted in (document.members or {}).items():
        roles = tuple(sorted(set(wanted.roles), key=list(Role).index))
        now = state.members.get(name)
        same = now is not None and now[0] == roles and wanted.trust in {None, now[1]}
        detail = "" if same else ", ".join(roles) + (" with trust" if wanted.trust else "")
        kind = ChangeKind.CREATE if now is None else ChangeKind.UNCHANGED if same else ChangeKind.UPDATE
        yield Line(kind, "member", name, None if same else PutMember(name, wanted), detail)


def plan_rules(document: Document, state: Governed, deployments: Sequence[str], fresh_keys: Mapping[str, bool]) -> Iterator[Line]:
    """After keys. ``deployments`` are those that are and will be; ``fresh_keys`` says of each key's label whether it is issued anew.

    Raises InvalidRequest, NotFound.
    """
    seen: set[Slot] = set()
    for limit in document.limits or ():
        line, slot = _limit(limit, state, deployments, fresh_keys)
        if slot in seen:
            raise InvalidRequest(f"The document limits {line.name} twice; leave one of them out.")
        seen.add(slot)
        yield line
    for price in document.prices or ():
        yield _price(price, state, deployments)
    for deployment, workspaces in (document.shares or {}).items():
        _known(deployment, deployments, "share")
        for workspace in workspaces:
            there = (deployment, workspace) in state.shares
            command = None if there else ShareDeployment(deployment, workspace)
            yield Line(_made(there), "share", f"{deployment} with {workspace}", command)


def plan_pruning(document: Document, state: Governed) -> Iterator[Line]:
    """What the sections of the document do not name. Prices and workspaces stay: bills and data hang on them."""
    if document.shares is not None:
        for deployment, workspace in sorted(state.shares):
            if workspace not in document.shares.get(deployment, ()):
                yield Line(ChangeKind.DELETE, "share", f"{deployment} with {workspace}", UnshareDeployment(deployment, workspace))
    if document.limits is not None:
        wanted = {_slot(limit) for limit in document.limits}
        for slot, limit in state.limits.items():
            if slot not in wanted and limit.scope is not Scope.PLATFORM:
                yield Line(ChangeKind.DELETE, "limit", _limit_name(slot), RemoveLimit(limit.id), limit.text)
    if document.members is not None:
        for name in state.members:
            if name not in document.members and name != state.myself:
                yield Line(ChangeKind.DELETE, "member", name, RemoveMember(name))


def _made(there: bool) -> ChangeKind:
    return ChangeKind.UNCHANGED if there else ChangeKind.CREATE


def _target(limit: DeclaredLimit) -> tuple[Scope, str]:
    if limit.borrower and not limit.deployment:
        raise InvalidRequest(f"The limit {limit.limit!r} names the borrower {limit.borrower!r} and no deployment; say of which one.")
    shared = share_subject(limit.deployment, limit.borrower) if limit.borrower else ""
    whole = "" if limit.borrower else limit.deployment
    named = {Scope.KEY: limit.key, Scope.PRINCIPAL: limit.member, Scope.DEPLOYMENT: whole, Scope.SHARE: shared}
    found = [(scope, subject) for scope, subject in named.items() if subject]
    if limit.platform:
        found.append((Scope.PLATFORM, ""))
    if len(found) > 1:
        raise InvalidRequest(f"The limit {limit.limit!r} is for several things at once; write one limit for each, and all of them hold.")
    return found[0] if found else (Scope.WORKSPACE, "")


def _slot(limit: DeclaredLimit) -> Slot:
    quantity = parse_quantity(limit.limit)
    return (*_target(limit), quantity.measure, quantity.window)


def _limit(wanted: DeclaredLimit, state: Governed, deployments: Sequence[str], fresh_keys: Mapping[str, bool]) -> tuple[Line, Slot]:
    quantity, slot = parse_quantity(wanted.limit), _slot(wanted)
    scope, subject = slot[:2]
    if scope is Scope.DEPLOYMENT:
        _known(subject, [*deployments, *state.received], "limit")
    if scope is Scope.SHARE:
        _known(wanted.deployment, deployments, "limit")
    if scope is Scope.KEY and subject not in fresh_keys:
        raise NotFound(f"A limit names the key {subject!r}, which there is not.{did_you_mean(subject, fresh_keys)}")
    now = None if scope is Scope.KEY and fresh_keys[subject] else state.limits.get(slot)
    same = now is not None and (now.amount, now.currency) == (quantity.amount, quantity.currency)
    kind = ChangeKind.CREATE if now is None else ChangeKind.UNCHANGED if same else ChangeKind.UPDATE
    detail = "" if same else wanted.limit if now is None else f"{now.text} → {wanted.limit}"
    needs = Action.ADMIN if scope is Scope.PLATFORM else Action.MANAGE
    return Line(kind, "limit", _limit_name(slot), None if same else SetLimit(scope, subject, quantity), detail, needs), slot


def _limit_name(slot: Slot) -> str:
    scope, subject, measure, window = slot
    return f"{measure.value}/{window.value} for {scope.value}{f' {subject}' if subject else ''}"


def _price(wanted: DeclaredPrice, state: Governed, deployments: Sequence[str]) -> Line:
    if wanted.deployment:
        _known(wanted.deployment, deployments, "price")
    rates = {name: parse_money(text) for name in RATES if (text := getattr(wanted, name)) is not None}
    price = msgspec.structs.replace(Price(id=0, workspace_id=0, deployment=wanted.deployment, currency=wanted.currency), **rates)
    now = state.prices.get((wanted.deployment, wanted.version))
    same = now is not None and all(getattr(now, name) == getattr(price, name) for name in (*RATES, "currency"))
    name = " ".join(filter(None, [wanted.deployment or "every deployment", wanted.version]))
    detail = "" if same else ", ".join([f"{item} {getattr(wanted, item)}" for item in price.named]) + f" {wanted.currency}"
    kind = ChangeKind.CREATE if now is None else ChangeKind.UNCHANGED if same else ChangeKind.UPDATE
    return Line(kind, "price", name, None if same else AddPrice(price, wanted.version), detail)


def _known(name: str, deployments: Sequence[str], verb: str) -> None:
    if name not in deployments:
        raise NotFound(f"There is no deployment {name!r} to {verb}.{did_you_mean(name, deployments)}")


def carry_out(caller: Caller, command: Governing) -> None:
    """Makes one change. Raises what its service refuses it with."""
    services, actor = caller.services, caller.actor
    match command:
        case CreateWorkspace(name):
            services.workspaces.create(actor, name)
        case PutMember(name, wanted):
            services.members.put(actor, caller.grant, name, wanted.roles, trust=wanted.trust, service=wanted.service)
        case RemoveMember(name):
            services.members.remove(actor, caller.grant, name)
        case SetLimit(Scope.KEY, label, quantity):
            services.limits.set(actor, Scope.KEY, _key_of(caller, label), quantity)
        case SetLimit(scope, subject, quantity):
            services.limits.set(actor, scope, subject, quantity)
        case RemoveLimit(limit_id):
            services.limits.remove(actor, limit_id)
        case AddPrice(price, version):
            services.prices.add(actor, msgspec.structs.replace(price, workspace_id=caller.workspace_id), version)
        case ShareDeployment(deployment, workspace):
            services.shares.share(actor, deployment, workspace)
        case UnshareDeployment(deployment, workspace):
            services.shares.unshare(actor, deployment, workspace)


def _key_of(caller: Caller, label: str) -> str:
    now = caller.services.clock.time_ns()
    for key in reversed(caller.services.keys.list(caller.workspace_id)):
        if key.label == label and not key.revoked_ns and (not key.expires_ns or key.expires_ns > now):
            return key.public_id
    raise NotFound(f"There is no key {label!r} to limit any more.")

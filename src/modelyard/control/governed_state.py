"""What is, of what a declared state says of members, limits, prices and shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelyard.control.access import Caller
from modelyard.control.document import Document
from modelyard.control.governed import Governed, Slot
from modelyard.core.access import Action, Key
from modelyard.core.limits import Limit, Scope
from modelyard.core.prices import ListedPrice, Price
from modelyard.gate.limits import listed_prices
from modelyard.identity.roster import members
from modelyard.store.database import Session


def read_governed(caller: Caller, document: Document, session: Session, keys: Mapping[str, Key]) -> Governed:
    """As far as the document needs to know it. ``keys`` are the valid ones by label.

    Raises PermissionDenied where the caller may not see what the document asks for.
    """
    if document.workspaces is not None:
        caller.check(Action.ADMIN)
    if any(section is not None for section in (document.members, document.limits, document.prices, document.shares)):
        caller.check(Action.AUDIT, Action.MANAGE)
    workspace_id = caller.workspace_id
    names = {workspace.id: workspace.name for workspace in session.workspaces.list()}
    labels = {key.public_id: label for label, key in keys.items()}
    return Governed(
        workspaces=frozenset(names.values()),
        members={principal.name: (member.roles, member.trust) for principal, member in members(session, workspace_id)},
        limits={slot: limit for limit in session.limits.list(workspace_id) if (slot := _slot(limit, labels)) is not None},
        prices=_in_force(listed_prices(session, workspace_id), caller.services.clock.time_ns()),
        shares=frozenset((share.deployment, names.get(share.borrower_id, "")) for share in session.shares.given(workspace_id)),
        received=frozenset(share.name for share in session.shares.received(workspace_id)),
        myself=session.principals.names([caller.grant.principal_id]).get(caller.grant.principal_id, ""),
    )


def _slot(limit: Limit, labels: Mapping[str, str]) -> Slot | None:
    """None for a key's that no document can name: it has no label, or is not valid any more."""
    subject = labels.get(limit.subject, "") if limit.scope is Scope.KEY else limit.subject
    return (limit.scope, subject, limit.measure, limit.window) if subject or limit.scope is not Scope.KEY else None


def _in_force(prices: Iterable[ListedPrice], now_ns: int) -> dict[tuple[str, str], Price]:
    return {(price.deployment, price.version): price for price in prices if price.effective_ns <= now_ns}

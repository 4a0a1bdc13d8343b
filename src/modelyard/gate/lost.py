"""What counters that were lost (the machine was started anew, a home was restored) had used: the ledger knows."""

from __future__ import annotations

import logging

import msgspec

from modelyard.core.cost import Cost
from modelyard.core.limits import Limit, Measure, Scope
from modelyard.core.prices import Tariff
from modelyard.core.shares import Share, share_subject
from modelyard.core.usage import CallKind
from modelyard.store.database import Session
from modelyard.store.leases import Lease
from modelyard.store.usage import UsageMinute

logger = logging.getLogger(__name__)
_MINUTE_NS = 60_000_000_000
_COUNTED = frozenset({CallKind.INFER, CallKind.GENERATE, CallKind.EMBED, CallKind.EXPLAIN})
_BY = ("minute", "key_id", "deployment_id", "version_id", "kind", "status")


def settle_lost(session: Session, node: str, holder: str) -> None:
    """Gives back what lost counters of ``node`` had leased and not used. Every journal of theirs must be folded.

    What the ledger counts in a window is at least what they had used; where others have used some of it, they are taken to have
    used it all: too little goes back, never too much.
    """
    known = {limit.id: limit for limit in session.limits.all()}
    for lease in session.leases.stranded(node, holder):
        limit = known.get(lease.limit_id)
        used = used_since(session, limit, lease.window_ns) if limit is not None else 0
        settled = [other.spent for other in session.leases.list(lease.limit_id, lease.window_ns) if _closed(other, lease)]
        spent = max(lease.spent, min(lease.granted, used - sum(settled)))
        session.leases.close(lease, spent)
        logger.info("Lost counters had leased %d of limit %d and used %d; the rest is free again", lease.granted, lease.limit_id, spent)


def used_since(session: Session, limit: Limit, since_ns: int) -> int:
    """What the ledger has counted of a limit since a time, in the unit of counters; money is rounded up."""
    workspaces = {limit.workspace_id}
    if limit.scope is Scope.PLATFORM:
        workspaces = {workspace.id for workspace in session.workspaces.list()}
    elif limit.scope is Scope.DEPLOYMENT:
        workspaces |= {share.borrower_id for share in session.shares.ever_given(limit.workspace_id)}
    elif limit.scope is Scope.SHARE:
        workspaces = {share.borrower_id for share in _capped(session, limit)}
    return sum(_in_workspace(session, limit, workspace_id, since_ns) for workspace_id in sorted(workspaces))


def _in_workspace(session: Session, limit: Limit, workspace_id: int, since_ns: int) -> int:
    """By calls of one workspace."""
    # Those that are gone count too: what was called is used, and one of the same name is limited as before.
    owners = {identity: (workspace_id, name) for identity, name in session.deployments.names(workspace_id).items()}
    owners |= {share.deployment_id: (share.workspace_id, share.deployment) for share in session.shares.ever_received(workspace_id)}
    minutes = session.usage.totals(workspace_id, since_minute=since_ns // _MINUTE_NS, by=_BY)
    counted = [minute for minute in minutes if minute.kind in _COUNTED]
    keys = _keys(session, limit)
    if keys is not None:
        counted = [minute for minute in counted if minute.key_id in keys]
    if limit.scope in {Scope.DEPLOYMENT, Scope.SHARE}:
        wanted = _deployments(session, limit, workspace_id, owners)
        counted = [minute for minute in counted if minute.deployment_id in wanted]
    if limit.measure is Measure.MONEY:
        prices = session.prices.all()
        tariffs = {identity: Tariff(prices, *owner) for identity, owner in owners.items()}
        return sum(
            _money(tariffs[minute.deployment_id], minute) for minute in counted if minute.status < 4 and minute.deployment_id in tariffs
        )
    return sum(_amount(limit.measure, minute) for minute in counted)


def _keys(session: Session, limit: Limit) -> set[int] | None:
    """Whose use counts; None for everybody's."""
    if limit.scope is Scope.KEY:
        key = session.keys.get(limit.workspace_id, limit.subject)
        return {key.id} if key is not None else set()
    if limit.scope is Scope.PRINCIPAL:
        principal = session.principals.find(limit.workspace_id, limit.subject)
        return {key.id for key in session.keys.of_principal(limit.workspace_id, principal.id)} if principal is not None else set()
    return None


def _capped(session: Session, limit: Limit) -> list[Share]:
    """The share, and those that have ended of earlier deployments of the name, that a limit on one of them is for."""
    given, names = session.shares.ever_given(limit.workspace_id), {workspace.id: workspace.name for workspace in session.workspaces.list()}
    return [share for share in given if share_subject(share.deployment, names.get(share.borrower_id, "")) == limit.subject]


def _deployments(session: Session, limit: Limit, workspace_id: int, owners: dict[int, tuple[int, str]]) -> set[int]:
    """Which deployments a limit on one means in a workspace: its owner's, whoever calls it, or what a borrower calls so."""
    if limit.scope is Scope.SHARE:
        return {share.deployment_id for share in _capped(session, limit)}
    found = {identity for identity, owner in owners.items() if owner == (limit.workspace_id, limit.subject)}
    if workspace_id == limit.workspace_id:
        found |= {identity for identity, name in session.shares.names(workspace_id).items() if name == limit.subject}
    return found


def _amount(measure: Measure, minute: UsageMinute) -> int:
    if measure is Measure.REQUESTS:
        return minute.calls
    if measure is Measure.BYTES:
        return minute.bytes_in + minute.bytes_out
    if measure is Measure.COMPUTE_MS:
        return minute.compute_us
    return int(getattr(minute, measure.value))


def _money(tariff: Tariff, minute: UsageMinute) -> int:
    price = tariff.price(minute.version_id, minute.minute * _MINUTE_NS + _MINUTE_NS - 1)
    if price is None:
        return 0
    fixed = 0
    if price.cached_call is not None:
        fixed, minute = price.cached_call * minute.cached_calls, minute.computed
    names = ("rows", "tokens_in", "tokens_out", "tokens_cached", "compute_us")
    explanations = minute.calls if minute.kind == CallKind.EXPLAIN else 0
    cost = Cost(**{name: getattr(minute, name) for name in names})
    cost.explanations = explanations
    variable = msgspec.structs.replace(price, call=0).of(cost)
    # Each call was rounded up by less than a millionth.
    return fixed + price.call * minute.calls + variable + (minute.calls if variable else 0)


def _closed(other: Lease, lease: Lease) -> bool:
    return other.holder != lease.holder and other.node == lease.node and other.granted == other.spent

"""What counters that were lost (the machine was started anew, a home was restored) had used: the ledger knows."""

from __future__ import annotations

import logging

import msgspec

from modelyard.core.inference import Cost
from modelyard.core.limits import Limit, Measure, Scope
from modelyard.core.prices import Tariff
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
    workspaces = [limit.workspace_id]
    if limit.scope is Scope.PLATFORM:
        workspaces = [workspace.id for workspace in session.workspaces.list()]
    return sum(_in_workspace(session, limit, workspace_id, since_ns) for workspace_id in workspaces)


def _in_workspace(session: Session, limit: Limit, workspace_id: int, since_ns: int) -> int:
    names = {deployment.id: deployment.name for deployment in session.deployments.list(workspace_id)}
    key = session.keys.get(workspace_id, limit.subject) if limit.scope is Scope.KEY else None
    if limit.scope is Scope.KEY and key is None:
        return 0
    minutes = session.usage.totals(workspace_id, since_minute=since_ns // _MINUTE_NS, by=_BY)
    counted = [minute for minute in minutes if minute.kind in _COUNTED]
    if key is not None:
        counted = [minute for minute in counted if minute.key_id == key.id]
    if limit.scope is Scope.DEPLOYMENT:
        counted = [minute for minute in counted if names.get(minute.deployment_id) == limit.subject]
    if limit.measure is Measure.MONEY:
        prices = session.prices.all()
        tariffs = {identity: Tariff(prices, workspace_id, name) for identity, name in names.items()}
        return sum(
            _money(tariffs[minute.deployment_id], minute) for minute in counted if minute.status < 4 and minute.deployment_id in tariffs
        )
    return sum(_amount(limit.measure, minute) for minute in counted)


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
    names = ("rows", "tokens_in", "tokens_out", "tokens_cached", "compute_us")
    explanations = minute.calls if minute.kind == CallKind.EXPLAIN else 0
    cost = Cost(**{name: getattr(minute, name) for name in names}, explanations=explanations)
    variable = msgspec.structs.replace(price, call=0).of(cost)
    # Each call was rounded up by less than a millionth.
    return price.call * minute.calls + variable + (minute.calls if variable else 0)


def _closed(other: Lease, lease: Lease) -> bool:
    return other.holder != lease.holder and other.node == lease.node and other.granted == other.spent

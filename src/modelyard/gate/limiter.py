"""What a call may use under all limits that bind it: reserved at once before it runs, settled when it is known.

Requests and concurrent calls are one unit each and therefore exact. Rows and tokens in are known once a call is decoded and reserved
exactly before it computes; tokens out are reserved as they come. What is known only afterwards (compute time, bytes and the money
for them) is reserved as the mean of the deployment's recent calls: a limit is overshot at most by what the calls under way use more
than that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from modelyard.core.access import Grant
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.limits import Measure, Scope, ServedLimit
from modelyard.core.prices import Tariff
from modelyard.gate.counters import Awaited, Counters
from modelyard.gate.meter import Lease, Meter
from modelyard.gate.plan import FORESEEN, ONE_EACH, Mean, Plan, Shown, Varied
from modelyard.gate.reservation import Hands, Held, Reservation
from modelyard.store.snapshot import Snapshot

__all__ = ["Awaited", "Limiter", "Reservation"]


Subject = tuple[Scope, int, int]
"""Scope, whose use is counted, and in which workspace, where that is not said by the subject: a person may be in several, and a shared
deployment has limits of its owner, which bind everybody's calls, and of those it is shared with, which bind their own."""
_BY_WORKSPACE: Final = frozenset({Scope.PRINCIPAL, Scope.DEPLOYMENT, Scope.SHARE})


def _subject_of(limit: ServedLimit) -> Subject:
    return limit.scope, limit.subject_id, limit.workspace_id if limit.scope in _BY_WORKSPACE else 0


@dataclass(slots=True)
class _Bound:
    """A snapshot's limits, by what they are for."""

    snapshot: Snapshot
    by_subject: dict[Subject, list[ServedLimit]] = field(default_factory=dict)
    plans: dict[tuple[int, int], Plan] = field(default_factory=dict)
    """By key and deployment."""
    alike: dict[tuple[int, int, str, tuple[Meter, ...]], Plan] = field(default_factory=dict)
    """By deployment and limits: the calls of many keys are often bound by the same."""
    shown: dict[tuple[Meter, ...], Shown] = field(default_factory=dict)
    """By the limits that it is about."""


class Limiter(Hands):
    """Reserves and settles for one worker. Belongs to its event loop; ``tick`` is called there every few dozen milliseconds."""

    def __init__(self, counters: Counters, clock: Clock | None = None) -> None:
        super().__init__(counters.words, clock or SystemClock())
        counters.sit()
        self._counters = counters
        self._meters: dict[int, Meter] = {}
        self._means: dict[tuple[int, Measure], Mean] = {}
        self._drawn: set[Meter] = set()
        self._bound = _Bound(Snapshot.empty())

    def plan(self, snapshot: Snapshot, grant: Grant, deployment_id: int, deployment: str) -> Plan:
        """The limits that bind a key's calls of a deployment, as long as the snapshot is the same."""
        bound = self._bound
        if bound.snapshot is not snapshot:
            bound = self._adopt(snapshot)
        return bound.plans.get((grant.key_id, deployment_id)) or self._plan(bound, grant, deployment_id, deployment)

    def reserve(self, plan: Plan) -> Reservation | None:
        """Reserves a call on every limit that binds it, or on none; None when none does.

        Raises LimitExceeded, Awaited when units may come within moments, Unavailable when limits cannot be looked up.
        """
        now = self.now()
        leases = []
        for meter in plan.single:
            lease = meter.lease
            if lease.available < 1 or lease.until <= now:
                lease = self.draw(meter, 1, now)
            leases.append(lease)
        held = self._find(plan, now) if plan.varied else []
        for lease in leases:
            lease.available -= 1
        for each in held:
            each.lease.available -= each.reserved
        return Reservation(self, plan, leases, held) if leases or held else None

    def draw(self, meter: Meter, need: int, now: int) -> Lease:
        """See ``Meter.draw``; what lies idle of it goes back in time."""
        lease = meter.draw(need, now)
        self._drawn.add(meter)
        return lease

    def watch(self, meter: Meter) -> None:
        """Has ``tick`` give back what lies idle of a limit."""
        self._drawn.add(meter)

    def give_back(self, meter: Meter) -> None:
        """Gives back now if that needs no waiting, otherwise with the next tick."""
        try:
            meter.give_back()
        except Awaited:
            self._drawn.add(meter)

    def tick(self) -> None:
        """Gives back what lies idle here."""
        now = self.now()
        for meter in list(self._drawn):
            try:
                if not meter.rest(now):
                    self._drawn.discard(meter)
            except Awaited:
                return

    def close(self) -> None:
        """Gives everything back; what is reserved is as good as never made."""
        self._counters.close()

    def _find(self, plan: Plan, now: int) -> list[Held]:
        found = []
        for varied in plan.varied:
            meter = varied.meter
            lease, amount = meter.lease, varied.mean.estimate
            if varied.money:
                amount += plan.tariff.call(self.time_ns())
            amount = min(amount, meter.whole)
            if lease.available < amount or lease.until <= now:
                lease = self.draw(meter, amount, now)
            found.append(Held(varied, lease, amount))
        return found

    def _adopt(self, snapshot: Snapshot) -> _Bound:
        bound = _Bound(snapshot)
        for limit in snapshot.limits:
            bound.by_subject.setdefault(_subject_of(limit), []).append(limit)
            meter = self._meters.get(limit.id)
            if meter is not None and meter.limit != limit:
                meter.change(limit)
        known = {deployment.id for deployment in snapshot.deployments} | {0}
        self._means = {key: mean for key, mean in self._means.items() if key[0] in known}
        self._bound = bound
        return bound

    def _meter(self, limit: ServedLimit) -> Meter:
        # Kept for good, even while its limit binds nobody: calls under way hold units of it.
        meter = self._meters.get(limit.id)
        if meter is None:
            meter = self._meters[limit.id] = Meter(limit, self._counters, self.time_ns)
        return meter

    def _plan(self, bound: _Bound, grant: Grant, deployment_id: int, deployment: str) -> Plan:
        served = bound.snapshot.deployment(grant.workspace_id, deployment)
        owner_id, name = (served.workspace_id, served.name) if served is not None else (grant.workspace_id, deployment)
        subjects: tuple[Subject, ...] = (
            (Scope.PLATFORM, 0, 0),
            (Scope.WORKSPACE, grant.workspace_id, 0),
            (Scope.PRINCIPAL, grant.principal_id, grant.workspace_id),
            (Scope.KEY, grant.key_id or -deployment_id, 0),
            (Scope.SHARE, deployment_id, grant.workspace_id),
            *((Scope.DEPLOYMENT, deployment_id, identity) for identity in dict.fromkeys((owner_id, grant.workspace_id))),
        )
        meters = tuple([self._meter(limit) for subject in subjects for limit in bound.by_subject.get(subject, ())])
        alike = deployment_id, owner_id, name, meters
        plan = bound.alike.get(alike)
        if plan is None:
            plan = bound.alike[alike] = self._plan_of(bound, *alike)
        bound.plans[grant.key_id, deployment_id] = plan
        return plan

    def _plan_of(self, bound: _Bound, deployment_id: int, owner_id: int, name: str, meters: tuple[Meter, ...]) -> Plan:
        measures = dict.fromkeys(meter.limit.measure for meter in meters)
        groups = tuple([tuple([meter for meter in meters if meter.limit.measure is measure]) for measure in measures])
        return Plan(
            tuple([meter for meter in meters if meter.limit.measure in ONE_EACH]),
            tuple([self._varied(meter, deployment_id) for meter in meters if meter.limit.measure not in ONE_EACH]),
            bound.shown.setdefault(meters, Shown(groups)),
            Tariff(bound.snapshot.prices, owner_id, name),
            foreseen=not FORESEEN.isdisjoint(measures),
        )

    def _varied(self, meter: Meter, deployment_id: int) -> Varied:
        measure = meter.limit.measure
        mean = self._means.setdefault((deployment_id, measure), Mean(0 if measure is Measure.MONEY else 1))
        return Varied(meter, mean)

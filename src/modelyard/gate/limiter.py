"""What a call may use under all limits that bind it: reserved at once before it runs, settled when it is known.

Requests and concurrent calls are one unit each and therefore exact. What is known only afterwards (rows, tokens, compute time,
bytes, money) is reserved as the mean of the deployment's recent calls: a limit is overshot at most by what the calls under way use
more than that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from modelyard.core.access import Grant
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.inference import Cost
from modelyard.core.limits import Measure, Scope, ServedLimit, Standing
from modelyard.core.prices import Tariff
from modelyard.gate.counters import Awaited, Counters
from modelyard.gate.meter import Lease, Meter
from modelyard.store.snapshot import Snapshot

__all__ = ["Awaited", "Limiter", "Reservation"]

_ONE_EACH = frozenset({Measure.REQUESTS, Measure.CONCURRENT})
_MOST_OF_A_CALL = 1 << 40
"""What one call can add to a counter; more is a mistake of ours and must not overflow the rest."""
_WEIGHT = 0.125


class _Means:
    """Exponential means of what a deployment's recent calls used."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[Measure, float] = {}

    def estimate(self, measure: Measure) -> int:
        return max(0 if measure is Measure.MONEY else 1, round(self._values.get(measure, 0.0)))

    def learn(self, measure: Measure, actual: int) -> None:
        before = self._values.get(measure)
        self._values[measure] = float(actual) if before is None else before + (actual - before) * _WEIGHT


@dataclass(slots=True)
class _Plan:
    """The limits that bind one key's calls of one deployment."""

    single: tuple[Meter, ...]
    varied: tuple[Meter, ...]
    means: _Means
    tariff: Tariff


@dataclass(slots=True)
class Reservation:
    """What one call has reserved, to be settled exactly once."""

    limiter: Limiter
    plan: _Plan
    leases: list[Lease]
    """One unit of each."""
    varied: list[tuple[Lease, int]] | None = None

    def settle(self, status: int, cost: Cost, size: int) -> None:
        """Turns reserved into spent, and gives back what was not used. ``size`` is the bytes of both bodies."""
        words = self.limiter.words
        for lease in self.leases:
            meter = lease.meter
            if words[meter.window_at] != lease.window:
                continue  # its window is over, and so is its count
            if meter.returns:
                lease.available += 1
                if lease is meter.lease and lease.available > meter.keep:
                    self.limiter.give_back(meter)
            else:
                words[meter.spent_at] += 1
        if self.varied is not None:
            self._settle_varied(status, cost, size)

    def standings(self) -> tuple[Standing, ...]:
        """Where the caller stands: for each measure, with the limit of which the least is left."""
        now = self.limiter.now()
        found: dict[Measure, Standing] = {}
        for meter in (*self.plan.single, *self.plan.varied):
            standing = meter.standing(now)
            before = found.get(standing.measure)
            if before is None or standing.remaining < before.remaining:
                found[standing.measure] = standing
        return tuple(found.values())

    def _settle_varied(self, status: int, cost: Cost, size: int) -> None:
        words, plan = self.limiter.words, self.plan
        for lease, reserved in self.varied or ():
            meter = lease.meter
            measure = meter.limit.measure
            actual = min(_MOST_OF_A_CALL, self._actual(measure, status, cost, size))
            if status < 400:
                fixed = plan.tariff.call(self.limiter.time_ns()) if measure is Measure.MONEY else 0
                plan.means.learn(measure, actual - fixed)
            if words[meter.window_at] == lease.window:
                words[meter.spent_at] += actual
                lease.available += reserved - actual

    def _actual(self, measure: Measure, status: int, cost: Cost, size: int) -> int:
        if measure is Measure.MONEY:
            return self.plan.tariff.of(cost, self.limiter.time_ns()) if status < 400 else 0
        if measure is Measure.BYTES:
            return size
        return int(getattr(cost, _FIELDS[measure]))


_FIELDS = {
    Measure.ROWS: "rows",
    Measure.TOKENS_IN: "tokens_in",
    Measure.TOKENS_OUT: "tokens_out",
    Measure.COMPUTE_MS: "compute_us",
}


@dataclass(slots=True)
class _Bound:
    """A snapshot's limits, by what they are for."""

    snapshot: Snapshot
    by_subject: dict[tuple[Scope, int], list[ServedLimit]] = field(default_factory=dict)
    plans: dict[tuple[int, int], _Plan] = field(default_factory=dict)


class Limiter:
    """Reserves and settles for one worker. Belongs to its event loop; ``tick`` is called there every few dozen milliseconds."""

    def __init__(self, counters: Counters, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        counters.sit()
        self._counters = counters
        self.words = counters.words
        self.now, self.time_ns = clock.monotonic_ns, clock.time_ns
        self._meters: dict[int, Meter] = {}
        self._means: dict[int, _Means] = {}
        self._drawn: set[Meter] = set()
        self._bound = _Bound(Snapshot.empty())

    def reserve(self, snapshot: Snapshot, grant: Grant, deployment_id: int, deployment: str) -> Reservation | None:
        """Reserves a call on every limit that binds it, or on none; None when none does.

        Raises LimitExceeded, Awaited when units may come within moments, Unavailable when limits cannot be looked up.
        """
        bound = self._bound
        if bound.snapshot is not snapshot:
            bound = self._adopt(snapshot)
        plan = bound.plans.get((grant.key_id, deployment_id))
        if plan is None:
            plan = self._plan(bound, grant, deployment_id, deployment)
        now = self.now()
        leases = []
        for meter in plan.single:
            lease = meter.lease
            if lease.available < 1 or lease.until <= now:
                lease = meter.draw(1, now)
                self._drawn.add(meter)
            leases.append(lease)
        varied = self._find(plan, now) if plan.varied else None
        for lease in leases:
            lease.available -= 1
        if varied is not None:
            for lease, amount in varied:
                lease.available -= amount
        return Reservation(self, plan, leases, varied) if leases or varied else None

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

    def _find(self, plan: _Plan, now: int) -> list[tuple[Lease, int]]:
        found = []
        for meter in plan.varied:
            lease, limit = meter.lease, meter.limit
            fixed = plan.tariff.call(self.time_ns()) if limit.measure is Measure.MONEY else 0
            amount = min(fixed + plan.means.estimate(limit.measure), limit.counted)
            if lease.available < amount or lease.until <= now:
                lease = meter.draw(amount, now)
                self._drawn.add(meter)
            found.append((lease, amount))
        return found

    def _adopt(self, snapshot: Snapshot) -> _Bound:
        bound = _Bound(snapshot)
        for limit in snapshot.limits:
            bound.by_subject.setdefault((limit.scope, limit.subject_id), []).append(limit)
            meter = self._meters.get(limit.id)
            if meter is not None and meter.limit != limit:
                meter.change(limit)
        self._means = {deployment.id: self._means.get(deployment.id) or _Means() for deployment in snapshot.deployments}
        self._bound = bound
        return bound

    def _meter(self, limit: ServedLimit) -> Meter:
        # Kept for good, even while its limit binds nobody: calls under way hold units of it.
        meter = self._meters.get(limit.id)
        if meter is None:
            meter = self._meters[limit.id] = Meter(limit, self._counters, self.time_ns)
        return meter

    def _plan(self, bound: _Bound, grant: Grant, deployment_id: int, deployment: str) -> _Plan:
        subjects = (
            (Scope.PLATFORM, 0),
            (Scope.WORKSPACE, grant.workspace_id),
            (Scope.KEY, grant.key_id),
            (Scope.DEPLOYMENT, deployment_id),
        )
        meters = [self._meter(limit) for subject in subjects for limit in bound.by_subject.get(subject, ())]
        plan = _Plan(
            tuple([meter for meter in meters if meter.limit.measure in _ONE_EACH]),
            tuple([meter for meter in meters if meter.limit.measure not in _ONE_EACH]),
            self._means.setdefault(deployment_id, _Means()),
            Tariff(bound.snapshot.prices, grant.workspace_id, deployment),
        )
        bound.plans[grant.key_id, deployment_id] = plan
        return plan

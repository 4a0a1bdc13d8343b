"""What a call may use under all limits that bind it: reserved at once before it runs, settled when it is known.

Requests and concurrent calls are one unit each and therefore exact. What is known only afterwards (rows, tokens, compute time,
bytes, money) is reserved as the mean of the deployment's recent calls: a limit is overshot at most by what the calls under way use
more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter

from modelyard.core.access import Grant
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.inference import Cost
from modelyard.core.limits import Measure, Scope, ServedLimit, Standings
from modelyard.core.prices import Tariff
from modelyard.gate.counters import Awaited, Counters
from modelyard.gate.meter import Lease, Meter
from modelyard.store.snapshot import Snapshot

__all__ = ["Awaited", "Limiter", "Reservation"]

_ONE_EACH = frozenset({Measure.REQUESTS, Measure.CONCURRENT})
_MOST_OF_A_CALL = 1 << 40
"""What one call can add to a counter; more is a mistake of ours and must not overflow the rest."""
_WEIGHT = 0.125
_FRESH_NS = 2_000_000


class _Mean:
    """The exponential mean of what a deployment's recent calls used of something."""

    __slots__ = ("_least", "_value", "estimate")

    def __init__(self, least: int) -> None:
        self._least, self._value, self.estimate = least, -1.0, least

    def learn(self, actual: int) -> None:
        before = self._value
        self._value = value = float(actual) if before < 0 else before + (actual - before) * _WEIGHT
        # At least one unit, so that calls which cost nothing as yet do not wait for those before them.
        self.estimate = max(self._least, round(value))


@dataclass(slots=True)
class _Varied:
    """A limit on something that is known only after a call."""

    meter: Meter
    mean: _Mean
    read: Callable[[Cost], int] | None
    """What of a cost counts; None for bytes and money."""
    money: bool

    def actual(self, cost: Cost, size: int) -> int:
        return size if self.read is None else self.read(cost)


@dataclass(slots=True)
class _Plan:
    """The limits that bind one key's calls of one deployment."""

    single: tuple[Meter, ...]
    varied: tuple[_Varied, ...]
    groups: tuple[tuple[Meter, ...], ...]
    """All of them, by measure."""
    tariff: Tariff
    standings: Standings = field(default_factory=lambda: Standings(()))
    standings_until: int = 0


class Reservation:
    """What one call has reserved, to be settled exactly once."""

    __slots__ = ("_leases", "_limiter", "_plan", "_varied")

    def __init__(self, limiter: Limiter, plan: _Plan, leases: list[Lease], varied: list[tuple[_Varied, Lease, int]] | None) -> None:
        """One unit of each of ``leases``, and what is estimated of the ``varied`` ones."""
        self._limiter, self._plan, self._leases, self._varied = limiter, plan, leases, varied

    @property
    def estimates(self) -> list[int]:
        """What was reserved of everything that is known only afterwards."""
        return [amount for _, _, amount in self._varied or ()]

    def settle(self, status: int, cost: Cost, size: int) -> None:
        """Turns reserved into spent, and gives back what was not used. ``size`` is the bytes of both bodies."""
        words = self._limiter.words
        for lease in self._leases:
            meter = lease.meter
            if words[meter.window_at] != lease.window:
                continue  # its window is over, and so is its count
            if meter.returns:
                lease.available += 1
                if lease is meter.lease and lease.available > meter.keep:
                    self._limiter.give_back(meter)
            else:
                words[meter.spent_at] += 1
        if self._varied is not None:
            self._settle_varied(status, cost, size)

    def standings(self) -> Standings:
        """Where the caller stands; what was worked out lately will do."""
        now, plan = self._limiter.now(), self._plan
        if now >= plan.standings_until:
            each = [(group[0] if len(group) == 1 else min(group, key=_left)).standing(now) for group in plan.groups]
            plan.standings = Standings(tuple(each))
            plan.standings_until = now + _FRESH_NS
        return plan.standings

    def _settle_varied(self, status: int, cost: Cost, size: int) -> None:
        words = self._limiter.words
        for varied, lease, reserved in self._varied or ():
            if varied.money:
                actual = self._money(varied, status, cost)
            else:
                actual = min(_MOST_OF_A_CALL, varied.actual(cost, size))
                if status < 400:
                    varied.mean.learn(actual)
            meter = lease.meter
            if words[meter.window_at] == lease.window:
                words[meter.spent_at] += actual
                lease.available += reserved - actual

    def _money(self, varied: _Varied, status: int, cost: Cost) -> int:
        """Only answers cost money."""
        if status >= 400:
            return 0
        now, tariff = self._limiter.time_ns(), self._plan.tariff
        actual = min(_MOST_OF_A_CALL, tariff.of(cost, now))
        varied.mean.learn(max(0, actual - tariff.call(now)))
        return actual


def _left(meter: Meter) -> int:
    return meter.left + meter.lease.available


_READ: dict[Measure, Callable[[Cost], int]] = {
    Measure.ROWS: attrgetter("rows"),
    Measure.TOKENS_IN: attrgetter("tokens_in"),
    Measure.TOKENS_OUT: attrgetter("tokens_out"),
    Measure.COMPUTE_MS: attrgetter("compute_us"),
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
        self._means: dict[tuple[int, Measure], _Mean] = {}
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
            for _, lease, amount in varied:
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

    def _find(self, plan: _Plan, now: int) -> list[tuple[_Varied, Lease, int]]:
        found = []
        for varied in plan.varied:
            meter = varied.meter
            lease, amount = meter.lease, varied.mean.estimate
            if varied.money:
                amount += plan.tariff.call(self.time_ns())
            amount = min(amount, meter.whole)
            if lease.available < amount or lease.until <= now:
                lease = meter.draw(amount, now)
                self._drawn.add(meter)
            found.append((varied, lease, amount))
        return found

    def _adopt(self, snapshot: Snapshot) -> _Bound:
        bound = _Bound(snapshot)
        for limit in snapshot.limits:
            bound.by_subject.setdefault((limit.scope, limit.subject_id), []).append(limit)
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

    def _plan(self, bound: _Bound, grant: Grant, deployment_id: int, deployment: str) -> _Plan:
        subjects = (
            (Scope.PLATFORM, 0),
            (Scope.WORKSPACE, grant.workspace_id),
            (Scope.KEY, grant.key_id),
            (Scope.DEPLOYMENT, deployment_id),
        )
        meters = [self._meter(limit) for subject in subjects for limit in bound.by_subject.get(subject, ())]
        measures = dict.fromkeys(meter.limit.measure for meter in meters)
        plan = _Plan(
            tuple([meter for meter in meters if meter.limit.measure in _ONE_EACH]),
            tuple([self._varied(meter, deployment_id) for meter in meters if meter.limit.measure not in _ONE_EACH]),
            tuple([tuple([meter for meter in meters if meter.limit.measure is measure]) for measure in measures]),
            Tariff(bound.snapshot.prices, grant.workspace_id, deployment),
        )
        bound.plans[grant.key_id, deployment_id] = plan
        return plan

    def _varied(self, meter: Meter, deployment_id: int) -> _Varied:
        measure = meter.limit.measure
        mean = self._means.setdefault((deployment_id, measure), _Mean(0 if measure is Measure.MONEY else 1))
        return _Varied(meter, mean, _READ.get(measure), measure is Measure.MONEY)

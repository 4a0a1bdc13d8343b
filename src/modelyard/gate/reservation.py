"""What one call holds of the limits that bind it, from its admission to its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from modelyard.core.clock import Clock
from modelyard.core.cost import Cost
from modelyard.core.errors import LimitExceeded
from modelyard.core.limits import Measure, Standings, amount_text
from modelyard.gate.counters import Awaited
from modelyard.gate.meter import Lease, Meter
from modelyard.gate.plan import Plan, Varied

_FRESH_NS: Final = 2_000_000


class Hands(ABC):
    """What a reservation needs of the limiter that made it: its base, so that a compiled call finds it without asking by name."""

    def __init__(self, words: memoryview[int], clock: Clock) -> None:
        self.words = words
        self.now, self.time_ns = clock.monotonic_ns, clock.time_ns

    @abstractmethod
    def draw(self, meter: Meter, need: int, now: int) -> Lease:
        """A lease with at least ``need`` units in hand; raises LimitExceeded or Awaited."""

    @abstractmethod
    def give_back(self, meter: Meter) -> None:
        """Puts idle units where others find them."""

    @abstractmethod
    def watch(self, meter: Meter) -> None:
        """Sees to it that units which came back into hand do not lie idle there."""


class Held:
    """What a call holds of one limit. A long call may go on in a later window of the limit; these are the figures of the latest."""

    __slots__ = ("before", "lease", "reserved", "spent", "varied")

    def __init__(self, varied: Varied, lease: Lease, reserved: int) -> None:
        self.varied, self.lease, self.reserved = varied, lease, reserved
        self.spent = 0
        """What of the reserved is spent for good, while the call goes on."""
        self.before = 0
        """What was spent in windows that are over."""


class Reservation:
    """What one call has reserved, to be settled exactly once.

    Meanwhile ``expect`` corrects it by what is known of the call, and ``spend`` settles a part and reserves more. Either does so on
    all limits or, raising LimitExceeded or Awaited, on none.
    """

    __slots__ = ("_hands", "_held", "_leases", "_plan", "_refused")

    def __init__(self, hands: Hands, plan: Plan, leases: list[Lease], held: list[Held]) -> None:
        """One unit of each of ``leases``, and what is estimated of everything else."""
        self._hands, self._plan, self._leases, self._held = hands, plan, leases, held
        self._refused = False

    @property
    def estimates(self) -> list[int]:
        """What is reserved of everything of which calls use more or less."""
        return [held.reserved for held in self._held]

    @property
    def foreseen(self) -> bool:
        """Whether ``expect`` can change anything."""
        return self._plan.foreseen

    def expect(self, known: Cost, size: int) -> None:
        """Reserves what a decoded call will use: exactly its rows and its tokens in, and the bytes and the money that are certain.

        A call that is refused here counts as one that was never admitted.
        """
        try:
            self._secure([self._expected(held, known, size) for held in self._held])
        except LimitExceeded:
            self._refused = True
            raise
        except Awaited as error:
            self._refused = isinstance(error.instead, LimitExceeded)
            raise
        self._refused = False

    def spend(self, cost: Cost, size: int) -> None:
        """Counts as spent what a call that goes on has used since its beginning."""
        now, tariff = self._hands.time_ns(), self._plan.tariff
        totals = [max(held.before + held.spent, held.varied.used(cost, size, tariff, now)) for held in self._held]
        self._secure([max(held.before + held.reserved, total) for held, total in zip(self._held, totals, strict=True)])
        for held, total in zip(self._held, totals, strict=True):
            held.lease.meter.count_now(total - held.before - held.spent)
            held.spent = total - held.before

    def settle(self, status: int, cost: Cost, size: int) -> None:
        """Turns reserved into spent, and gives back what was not used. ``size`` is the bytes of both bodies."""
        words = self._hands.words
        for lease in self._leases:
            meter = lease.meter
            if words[meter.window_at] != lease.window:
                continue  # its window is over, and so is its count
            if meter.returns or self._refused:
                lease.available += 1
                if meter.returns and lease is meter.lease and lease.available > meter.keep:
                    self._hands.give_back(meter)
                else:
                    self._hands.watch(meter)
            else:
                meter.count(1)
        if self._held:
            self._settle_held(status, cost, size)

    def standings(self) -> Standings:
        """Where the caller stands; what was worked out lately will do."""
        now, shown = self._hands.now(), self._plan.shown
        if now >= shown.until:
            each = [(group[0] if len(group) == 1 else min(group, key=_left)).standing(now) for group in shown.groups]
            shown.standings = Standings(tuple(each))
            shown.until = now + _FRESH_NS
        return shown.standings

    def _settle_held(self, status: int, cost: Cost, size: int) -> None:
        words, now, tariff = self._hands.words, self._hands.time_ns(), self._plan.tariff
        if self._refused:
            cost, size = Cost(), 0
        for held in self._held:
            # Only answers cost money; what a stream had handed out before it broke was answered.
            actual = 0 if held.varied.money and status >= 400 else held.varied.used(cost, size, tariff, now)
            if status < 400:
                held.varied.learn(actual, tariff, now)
            actual = max(actual - held.before, held.spent)
            lease = held.lease
            meter = lease.meter
            if words[meter.window_at] == lease.window:
                meter.count(actual - held.spent)
                lease.available += held.reserved - actual
                if held.reserved > actual:
                    self._hands.watch(meter)

    def _expected(self, held: Held, known: Cost, size: int) -> int:
        varied, measure = held.varied, held.varied.measure
        if measure is Measure.ROWS:
            target = known.rows
        elif measure is Measure.TOKENS_IN:
            target = known.tokens_in or held.reserved
        elif measure is Measure.BYTES:
            target = max(held.reserved, size)
        elif varied.money:
            now = self._hands.time_ns()
            price = self._plan.tariff.price(known.version_id, now)
            certain = 0 if price is None else max(price.of(known), price.entry)
            target = certain if price is None or price.certain else max(certain, held.reserved)
        else:
            return held.reserved
        limit = varied.meter.limit
        if target > varied.meter.whole:
            raise LimitExceeded(
                f"This call needs {amount_text(target, measure, limit.currency)}, and the limit is {limit.text}: send less at once."
            )
        return target

    def _secure(self, targets: Sequence[int]) -> None:
        """Has as much reserved as ``targets`` say for the whole call, or raises and changes nothing."""
        now = self._hands.now()
        found = [self._cover(held, target, now) for held, target in zip(self._held, targets, strict=True)]
        for held, target, lease in zip(self._held, targets, found, strict=True):
            if lease is not held.lease:
                held.before += held.spent
                held.lease, held.reserved, held.spent = lease, 0, 0
            wanted = target - held.before
            lease.available -= wanted - held.reserved
            if wanted < held.reserved:
                self._hands.watch(held.varied.meter)
            held.reserved = wanted

    def _cover(self, held: Held, target: int, now: int) -> Lease:
        """A lease that has what the call lacks of ``target`` in hand: of the limit's latest window, if the call's is over."""
        meter, lease = held.varied.meter, held.lease
        more = target - held.before - held.reserved
        if lease.until <= now or self._hands.words[meter.window_at] != lease.window:
            more = target - held.before - held.spent
            lease = meter.lease
        if more > 0 and (lease.available < more or lease.until <= now):
            return self._hands.draw(meter, more, now)
        return lease


def _left(meter: Meter) -> int:
    return meter.left + meter.lease.available

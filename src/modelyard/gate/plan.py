"""The limits that bind a key's calls of a deployment, and what such a call is likely to use."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from modelyard.core.cost import Cost
from modelyard.core.limits import Measure, Standings
from modelyard.core.prices import Tariff
from modelyard.gate.meter import Meter

ONE_EACH: Final = frozenset({Measure.REQUESTS, Measure.CONCURRENT})
"""Measures of which every call uses one unit."""
FORESEEN: Final = frozenset({Measure.ROWS, Measure.TOKENS_IN, Measure.BYTES, Measure.MONEY})
"""Measures of which more is known once a call is decoded."""
_MOST_OF_A_CALL: Final = 1 << 40
"""What one call can add to a counter; more is a mistake of ours and must not overflow the rest."""
_WEIGHT: Final = 0.125
_READ: Final[dict[Measure, Callable[[Cost], int]]] = {
    Measure.ROWS: attrgetter("rows"),
    Measure.TOKENS_IN: attrgetter("tokens_in"),
    Measure.TOKENS_OUT: attrgetter("tokens_out"),
    Measure.COMPUTE_MS: attrgetter("compute_us"),
}


class Mean:
    """The exponential mean of what a deployment's recent calls used of something."""

    __slots__ = ("_least", "_value", "estimate")

    def __init__(self, least: int) -> None:
        self._least, self._value, self.estimate = least, -1.0, least

    def learn(self, actual: int) -> None:
        before = self._value
        self._value = value = float(actual) if before < 0 else before + (actual - before) * _WEIGHT
        # At least one unit, so that calls which cost nothing as yet do not wait for those before them.
        self.estimate = max(self._least, round(value))


class Varied:
    """A limit on something of which calls use more or less."""

    __slots__ = ("_learns", "_read", "mean", "measure", "meter", "money")

    def __init__(self, meter: Meter, mean: Mean) -> None:
        self.meter, self.mean = meter, mean
        self.measure = measure = meter.limit.measure
        self.money = measure is Measure.MONEY
        self._read = _READ.get(measure)
        # Rows are known before anything is computed, so that nothing needs to be guessed of them.
        self._learns = measure is not Measure.ROWS

    def used(self, cost: Cost, size: int, tariff: Tariff, now_ns: int) -> int:
        """What a call that has come so far has used; ``size`` is the bytes of its bodies."""
        if self.money:
            return min(_MOST_OF_A_CALL, tariff.of(cost, now_ns))
        return min(_MOST_OF_A_CALL, size if self._read is None else self._read(cost))

    def learn(self, used: int, tariff: Tariff, now_ns: int) -> None:
        """Takes an answered call into the mean."""
        if self._learns:
            self.mean.learn(max(0, used - tariff.call(now_ns)) if self.money else used)


class Shown:
    """What callers are told who are bound by the same limits: worked out once for all of them, and again moments later."""

    __slots__ = ("groups", "standings", "until")

    def __init__(self, groups: tuple[tuple[Meter, ...], ...]) -> None:
        self.groups = groups
        """The limits, by measure."""
        self.standings = Standings(())
        self.until = 0


class Plan:
    """The limits that bind calls of one deployment with one key, or with any of several that the same limits bind."""

    __slots__ = ("foreseen", "shown", "single", "tariff", "varied")

    def __init__(self, single: tuple[Meter, ...], varied: tuple[Varied, ...], shown: Shown, tariff: Tariff, *, foreseen: bool) -> None:
        self.single, self.varied, self.shown, self.tariff = single, varied, shown, tariff
        self.foreseen = foreseen
        """Whether any of them can be reserved better once a call is decoded."""

"""Comparing two versions while calls come in, with a verdict that holds however often and whenever one looks.

A test of fixed size that is looked at again and again calls equal versions different sooner or later. What is here bounds the chance
of that over all looks together by ``alpha``.

Sources:
- Robbins, H. (1970), "Statistical methods related to the law of the iterated logarithm", Annals of Mathematical Statistics 41:
  mixtures of likelihood ratios, which all of the rest builds on.
- Lindon, M., Malek, A. (2022), "Anytime-valid inference for multinomial count data", NeurIPS 35: the test of counts, used for errors.
- Johari, R., Koomen, P., Pekelis, L., Walsh, D. (2022), "Always valid inference: continuous monitoring of A/B tests",
  Operations Research 70: the mixture sequential probability ratio test of a difference of means, used for latency and outcome.
- Waudby-Smith, I., Arbour, D., Sinha, R., Kennedy, E., Ramdas, A. (2024), "Time-uniform central limit theory and asymptotic
  confidence sequences", Annals of Statistics 52: why that holds with an estimated variance, and for values of any distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

_HALVINGS = 60
_EFFECT = 0.1
"""The difference, in standard deviations, at which the mixture looks hardest; larger and smaller ones take a little longer."""


class Moments(NamedTuple):
    """Count, sum and sum of squares of one side's values."""

    size: int
    sum: float
    squares: float

    @property
    def mean(self) -> float:
        return self.sum / self.size if self.size else 0.0

    @property
    def variance(self) -> float:
        if self.size < 2:
            return 0.0
        return max(0.0, (self.squares - self.sum * self.sum / self.size) / (self.size - 1))


class Interval(NamedTuple):
    """Bounds that hold the truth at every look at once, with probability ``1 - alpha``."""

    low: float
    high: float


def mean_difference(stable: Moments, candidate: Moments, alpha: float) -> Interval:
    """Candidate's mean less stable's. Unbounded while one side has fewer than two values; asymptotic, so ask for a hundred or so."""
    if min(stable.size, candidate.size) < 2:
        return Interval(-math.inf, math.inf)
    squared_error = stable.variance / stable.size + candidate.variance / candidate.size
    difference = candidate.mean - stable.mean
    if squared_error <= 0:
        return Interval(difference, difference)
    pooled = (stable.variance + candidate.variance) / 2
    mixing = _EFFECT * _EFFECT * pooled
    # Inverts Λ = √(V/(V+τ²)) · exp(τ²δ²/(2V(V+τ²))) ≥ 1/α, the mixture's likelihood ratio.
    radius = math.sqrt(squared_error * (squared_error + mixing) / mixing * math.log((squared_error + mixing) / (squared_error * alpha**2)))
    return Interval(difference - radius, difference + radius)


def candidate_share(stable: int, candidate: int, expected: float, alpha: float) -> Interval:
    """Of all errors, the share that is the candidate's. ``expected`` is its share of the calls.

    When versions fail alike, each error is the candidate's with exactly that probability, however rare errors are; so the test
    is exact. The mixture is a beta distribution around ``expected``.
    """
    log_bound = math.log(1 / alpha)
    first, second = max(2 * expected, 1e-3), max(2 * (1 - expected), 1e-3)
    mixture = _log_beta(first + candidate, second + stable) - _log_beta(first, second)

    def rejected(share: float) -> bool:
        return mixture - _log_power(share, candidate) - _log_power(1 - share, stable) >= log_bound

    middle = candidate / (stable + candidate) if stable + candidate else expected
    return Interval(_edge(middle, 0.0, rejected), _edge(middle, 1.0, rejected))


def error_rates(stable_errors: int, candidate_errors: int, calls: int, expected: float, alpha: float) -> Interval:
    """Bounds of the candidate's error rate less stable's over ``calls`` calls of both, of which it has the share ``expected``."""
    errors = stable_errors + candidate_errors
    share = candidate_share(stable_errors, candidate_errors, expected, alpha)
    return Interval(*(errors * bound / (calls * expected) - errors * (1 - bound) / (calls * (1 - expected)) for bound in share))


def _edge(inside: float, outside: float, rejected: Callable[[float], bool]) -> float:
    """Where ``rejected`` begins on the way from a share that it does not reject to an end of the unit interval."""
    if not rejected(outside):
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if rejected(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_power(share: float, count: int) -> float:
    """The logarithm of ``share ** count``."""
    if not count:
        return 0.0
    return count * math.log(share) if share > 0 else -math.inf


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

"""An A/B experiment as it stands: each metric's interval and what it says of the candidate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.core.policy import Experiment
from modelyard.core.rollout import Comparison, Outcomes, Tally, Verdict
from modelyard.serving.sequential import Interval, Moments, error_rates, mean_difference


@dataclass(frozen=True)
class Side:
    """One side of an experiment: its share of the weights, what workers counted and what users reported."""

    share: float
    tally: Tally
    outcomes: Outcomes

    @property
    def answered(self) -> int:
        return self.tally.calls - self.tally.errors


def joined(sides: Iterable[Side]) -> Side:
    """Several versions as one side."""
    tally, share, count, total, squares = Tally(), 0.0, 0, 0.0, 0.0
    for side in sides:
        share += side.share
        tally.add(side.tally)
        count, total, squares = count + side.outcomes.count, total + side.outcomes.sum, squares + side.outcomes.squares
    return Side(share, tally, Outcomes(count=count, sum=total, squares=squares))


def compare(experiment: Experiment, stable: Side, candidate: Side, *, sticky: bool) -> tuple[Comparison, ...]:
    """Each metric of the experiment; the chance of a wrong verdict is shared between them.

    When callers are assigned, calls of one caller are alike, so that shares of calls are taken as they came and not as the weights say.
    """
    alpha = experiment.alpha / len(experiment.metrics)
    found = []
    for metric in experiment.metrics:
        if metric == "errors":
            found.append(_errors(stable, candidate, alpha, sticky=sticky))
        elif metric == "latency":
            found.append(_latency(experiment, stable, candidate, alpha))
        else:
            found.append(_outcome(experiment, stable, candidate, alpha))
    return tuple(found)


def _errors(stable: Side, candidate: Side, alpha: float, *, sticky: bool) -> Comparison:
    calls = stable.tally.calls + candidate.tally.calls
    weights = stable.share + candidate.share
    expected = candidate.share / weights if weights else 0.0
    if sticky and calls:
        expected = candidate.tally.calls / calls
    if not 0 < expected < 1 or not calls:
        return _undecided("errors", stable.tally.error_rate, candidate.tally.error_rate, "one side has had no call")
    interval = error_rates(stable.tally.errors, candidate.tally.errors, calls, expected, alpha)
    return _made("errors", stable.tally.error_rate, candidate.tally.error_rate, interval, _verdict(interval, 0.0, higher_is_better=False))


def _latency(experiment: Experiment, stable: Side, candidate: Side, alpha: float) -> Comparison:
    ours, theirs = _logarithms(candidate), _logarithms(stable)
    before, after = (math.exp(side.mean) / 1000 if side.size else 0.0 for side in (theirs, ours))
    if min(ours.size, theirs.size) < experiment.min_calls:
        return _undecided("latency", before, after, _too_few(experiment.min_calls))
    interval = mean_difference(theirs, ours, alpha)
    ratio = Interval(_exponential(interval.low), _exponential(interval.high))
    return _made("latency", before, after, ratio, _verdict(ratio, 1.0, higher_is_better=False))


def _outcome(experiment: Experiment, stable: Side, candidate: Side, alpha: float) -> Comparison:
    ours, theirs = _reported(candidate), _reported(stable)
    if min(ours.size, theirs.size) < experiment.min_calls:
        return _undecided("outcome", theirs.mean, ours.mean, _too_few(experiment.min_calls))
    interval = mean_difference(theirs, ours, alpha)
    verdict = _verdict(interval, 0.0, higher_is_better=experiment.higher_is_better)
    return _made("outcome", theirs.mean, ours.mean, interval, verdict)


def _logarithms(side: Side) -> Moments:
    return Moments(side.answered, side.tally.log_sum, side.tally.log_squares)


def _reported(side: Side) -> Moments:
    return Moments(side.outcomes.count, side.outcomes.sum, side.outcomes.squares)


def _exponential(value: float) -> float:
    return math.exp(min(value, 700.0))


def _too_few(wanted: int) -> str:
    return f"each side needs {wanted} first"


def _verdict(interval: Interval, same: float, *, higher_is_better: bool) -> Verdict:
    if interval.low > same:
        return Verdict.BETTER if higher_is_better else Verdict.WORSE
    if interval.high < same:
        return Verdict.WORSE if higher_is_better else Verdict.BETTER
    return Verdict.UNDECIDED


def _made(metric: str, stable: float, candidate: float, interval: Interval, verdict: Verdict) -> Comparison:
    return Comparison(metric=metric, stable=stable, candidate=candidate, low=interval.low, high=interval.high, verdict=verdict)


def _undecided(metric: str, stable: float, candidate: float, note: str) -> Comparison:
    return Comparison(metric=metric, stable=stable, candidate=candidate, low=None, high=None, verdict=Verdict.UNDECIDED, note=note)

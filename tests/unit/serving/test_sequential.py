"""Sequential tests: looked at again and again they call equal versions different no more often than promised, and tell others apart."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.policy import Experiment
from modelyard.core.rollout import Outcomes, Tally, Verdict
from modelyard.serving.experiment import Side, compare, joined
from modelyard.serving.sequential import Moments, candidate_share, error_rates, mean_difference

ALPHA, RUNS = 0.05, 200
LOOKS = np.unique(np.geomspace(200, 20_000, 25).astype(int))
ALLOWED = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
"""Three standard errors above alpha: the simulation is seeded, and its own noise must not decide."""


def false_alarm(differs):
    return sum(differs(np.random.default_rng(seed)) for seed in range(RUNS)) / RUNS


@pytest.mark.parametrize(("share", "rate"), [(0.5, 0.05), (0.1, 0.02), (0.05, 0.3)])
def test_equal_error_rates_are_called_different_no_more_often_than_alpha(share, rate):
    def differs(random):
        ours = random.random(LOOKS[-1]) < share
        failed = random.random(LOOKS[-1]) < rate
        candidate, stable = np.cumsum(ours & failed), np.cumsum(~ours & failed)
        for look in LOOKS - 1:
            interval = error_rates(int(stable[look]), int(candidate[look]), int(look + 1), share, ALPHA)
            if not interval.low <= 0 <= interval.high:
                return True
        return False

    assert false_alarm(differs) <= ALLOWED


@pytest.mark.parametrize("draw", ["normal", "lognormal", "binary"])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_equal_means_are_called_different_no_more_often_than_alpha(draw, share):
    def differs(random):
        ours = random.random(LOOKS[-1]) < share
        values = {
            "normal": lambda: random.normal(3, 2, LOOKS[-1]),
            "lognormal": lambda: random.lognormal(0, 0.5, LOOKS[-1]),
            "binary": lambda: (random.random(LOOKS[-1]) < 0.3).astype(float),
        }[draw]()
        sums = [np.cumsum(np.where(side, power, 0)) for side in (ours, ~ours) for power in (np.ones_like(values), values, values**2)]
        for look in LOOKS - 1:
            candidate, stable = (Moments(int(n[look]), float(s[look]), float(q[look])) for n, s, q in (sums[:3], sums[3:]))
            if min(candidate.size, stable.size) < 100:
                continue
            interval = mean_difference(stable, candidate, ALPHA)
            if not interval.low <= 0 <= interval.high:
                return True
        return False

    assert false_alarm(differs) <= ALLOWED


def test_a_fixed_test_that_is_looked_at_again_and_again_would_not_keep_that_promise():
    def differs(random):
        ours = np.cumsum(random.normal(0, 1, LOOKS[-1]))
        return any(abs(ours[look - 1]) / math.sqrt(look) > 1.96 for look in LOOKS)

    assert false_alarm(differs) > 2 * ALLOWED


def test_a_real_difference_is_found_and_lies_in_the_interval():
    random = np.random.default_rng(1)
    values = [random.normal(mean, 1, 4000) for mean in (1.0, 1.2)]
    stable, candidate = (Moments(len(side), float(side.sum()), float((side**2).sum())) for side in values)
    interval = mean_difference(stable, candidate, ALPHA)
    assert 0 < interval.low < 0.2 < interval.high
    errors = error_rates(50, 120, 10_000, 0.5, ALPHA)
    assert 0 < errors.low < 0.014 < errors.high


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.floats(0.01, 0.99),
    st.floats(0.001, 0.5),
)
def test_intervals_of_shares_hold_what_was_seen_and_narrow_with_alpha(stable, candidate, expected, alpha):
    interval = candidate_share(stable, candidate, expected, alpha)
    assert 0 <= interval.low <= interval.high <= 1
    if stable + candidate:
        assert interval.low - 1e-9 <= candidate / (stable + candidate) <= interval.high + 1e-9
    wider = candidate_share(stable, candidate, expected, alpha / 2)
    assert wider.low <= interval.low + 1e-9
    assert wider.high >= interval.high - 1e-9


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(-1e3, 1e3), st.floats(0, 1e6)), min_size=2, max_size=2), st.floats(0.001, 0.5))
def test_intervals_of_means_are_never_the_wrong_way_round(sides, alpha):
    interval = mean_difference(Moments(*sides[0]), Moments(*sides[1]), alpha)
    assert interval.low <= interval.high


def side(share, calls, errors=0, micros=1000.0, good=0, reported=0):
    tally = Tally()
    for number in range(calls - errors):
        tally.answered(micros * (0.9 + 0.2 * (number % 7) / 6))
    for _ in range(errors):
        tally.failed()
    return Side(share, tally, Outcomes(count=reported, sum=float(good), squares=float(good)))


def test_an_experiment_tells_each_metric_by_itself():
    experiment = Experiment(candidate="m@2")
    stable = joined([side(0.4, 1500, 15, 1000, 700, 1000), side(0.1, 500, 5, 1000, 300, 500)])
    found = {made.metric: made for made in compare(experiment, stable, side(0.5, 2000, 120, 2000, 1400, 1500), sticky=False)}
    assert (stable.share, stable.tally.calls, stable.outcomes.count) == (0.5, 2000, 1500)
    assert found["errors"].verdict is Verdict.WORSE
    assert found["latency"].verdict is Verdict.WORSE
    assert found["latency"].low < 2 < found["latency"].high
    assert found["outcome"].verdict is Verdict.BETTER


def test_what_is_too_little_is_said_instead_of_judged():
    experiment = Experiment(candidate="m@2", higher_is_better=False)
    few = compare(experiment, side(0.5, 20), side(0.5, 20), sticky=True)
    assert [made.verdict for made in few] == [Verdict.UNDECIDED] * 3
    assert few[1].note == "each side needs 100 first"
    assert compare(experiment, side(0.5, 0), side(0.5, 0), sticky=True)[0].note == "one side has had no call"
    lower = compare(experiment, side(0.5, 300, 0, 1000, 200, 300), side(0.5, 300, 0, 1000, 20, 300), sticky=False)
    assert lower[2].verdict is Verdict.BETTER

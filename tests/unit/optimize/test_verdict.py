import numpy as np
import pytest

from modelyard.optimize.measure import Race, difference, latency, rows_of
from modelyard.optimize.spec import Tolerance
from modelyard.optimize.verdict import reasons_against


def measured(**changes):
    return {
        "parent": {"size_bytes": 1000},
        "child": {"size_bytes": 500},
        "races": {"1": {"ratio": 0.9, "ratio_low": 0.8}},
        "quality": {"metric": "f1_macro", "loss": {"value": 0.0}},
        "difference": {},
        "exact": False,
    } | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"child": {"size_bytes": 1050}}, ""),
        ({"child": {"size_bytes": 1051}}, "larger: 1,051 bytes instead of 1,000"),
        ({"races": {"32": {"ratio": 1.3, "ratio_low": 1.2}}}, "slower: 1.30 times the time at batch 32"),
        ({"races": {"32": {"ratio": 1.3, "ratio_low": 1.05}}}, ""),
        ({"quality": {"metric": "rmse", "loss": {"value": 0.02}}}, "worse: rmse loses 0.02, more than 0.01"),
        ({"quality": {"metric": "rmse", "loss": {"value": -0.5}}}, ""),
        ({"quality": None}, "unproven: the pass changes answers, and there are no held-out rows to judge it by"),
        ({"quality": None, "exact": True, "difference": {"y": {"largest": 1.0, "relative": 1e-6}}}, ""),
        ({"quality": None, "exact": True, "difference": {"y": {"agreement": 0.9}}}, "unproven: it answers differently in y"),
    ],
)
def test_a_child_is_flagged_for_what_it_loses(changes, reason):
    assert reasons_against(measured(**changes), Tolerance()) == ([reason] if reason else [])


def test_a_loss_that_is_no_number_is_never_kept():
    assert reasons_against(measured(quality={"metric": "rmse", "loss": {"value": float("nan")}}), Tolerance())


def test_one_slow_round_is_noise_and_most_rounds_are_not():
    noisy = Race([[10.0]] * 9, [[10.0]] * 8 + [[90.0]])
    assert noisy.report() == {"ratio": 1.0, "ratio_low": 1.0}
    slower = Race([[10.0]] * 9, [[20.0]] * 9)
    assert slower.report()["ratio_low"] == 2.0
    assert latency(slower.child, 32) == {"p50_us": 20.0, "p99_us": 20.0, "rows_per_second": 1_600_000.0}


def test_differences_of_numbers_texts_and_gaps():
    before = {"y": np.array([1.0, -4.0, np.nan]), "label": np.array(["a", "b"], object), "lost": np.array([1.0])}
    after = {"y": np.array([1.0, -3.0, np.nan]), "label": np.array(["a", "c"], object), "lost": np.array([np.nan])}
    found = difference(before, after)
    assert found["y"] == {"largest": 1.0, "relative": 0.25}
    assert found["label"] == {"agreement": 0.5}
    assert found["lost"]["relative"] > 1e300


def test_rows_begin_again_where_there_are_too_few():
    assert rows_of({"x": np.arange(3)}, 7)["x"].tolist() == [0, 1, 2, 0, 1, 2, 0]

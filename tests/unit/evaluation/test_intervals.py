import numpy as np
import pytest

from modelyard.evaluation.intervals import _Classification, classification_intervals, regression_intervals
from modelyard.evaluation.metrics import classification_metrics, regression_metrics


@pytest.mark.parametrize("classes", [2, 4])
def test_a_weighted_measure_is_that_of_the_rows_repeated(classes):
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, 150)
    scores = random.random((150, classes)).round(2) + np.eye(classes)[truth] * 0.4
    shares = scores / scores.sum(axis=1, keepdims=True)
    drawn = random.integers(0, 150, 150)
    found = _Classification(truth, shares).measures(np.bincount(drawn, minlength=150).astype(float))
    wanted = classification_metrics(truth[drawn], shares[drawn])
    assert set(found) == set(wanted)
    assert found == pytest.approx(wanted)


def test_intervals_hold_the_value_and_narrow_with_rows():
    random = np.random.default_rng(0)
    widths = []
    for rows in (100, 2_000):
        truth = random.integers(0, 3, rows)
        shares = np.eye(3)[np.where(random.random(rows) < 0.8, truth, (truth + 1) % 3)] * 0.7 + 0.1
        intervals = classification_intervals(truth, shares)
        values = classification_metrics(truth, shares)
        assert set(intervals) == set(values)
        assert all(intervals[name]["low"] <= value <= intervals[name]["high"] for name, value in values.items())
        widths.append(intervals["accuracy"]["high"] - intervals["accuracy"]["low"])
    assert widths[1] < widths[0] / 2


def test_intervals_of_quantities():
    random = np.random.default_rng(0)
    truth = random.normal(size=200)
    predicted = truth + random.normal(size=200) * 0.3
    values, intervals = regression_metrics(truth, predicted), regression_intervals(truth, predicted)
    assert set(intervals) == set(values)
    assert all(intervals[name]["low"] <= value <= intervals[name]["high"] for name, value in values.items())
    assert set(regression_intervals(np.ones(5), np.zeros(5))) == {"rmse", "mae"}

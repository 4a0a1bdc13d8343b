"""Measures of forecasts by hand, and intervals that know that neighbours are alike."""

import numpy as np
import pytest

from modelyard.evaluation.forecasts import (
    ForecastTruth,
    by_step,
    filled,
    forecast_intervals,
    forecast_metrics,
    improvement,
    naive,
    seasonal_naive,
    seasonal_scale,
)

NAN = float("nan")


def truth_of(values, scale=2.0, groups=None, block=1):
    values = np.asarray(values, float)
    return ForecastTruth(values, np.full((len(values), 1), scale), np.zeros(len(values), int) if groups is None else groups, block)


def test_measures_are_those_of_the_textbook_and_leave_out_what_nobody_knows():
    truth = truth_of([[[1.0], [2.0]], [[3.0], [NAN]]])
    found = forecast_metrics(truth, np.array([[[2.0], [2.0]], [[0.0], [99.0]]]))
    assert found["mae"] == pytest.approx((1 + 0 + 3) / 3)
    assert found["rmse"] == pytest.approx(((1 + 0 + 9) / 3) ** 0.5)
    assert found["mase"] == pytest.approx((1 + 0 + 3) / 3 / 2)
    assert by_step(truth, np.array([[[2.0], [2.0]], [[0.0], [99.0]]])) == [2.0, 0.0]


def test_forecasts_that_cost_nothing():
    history = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, NAN]])[:, :, None]
    assert naive(history, 2)[0, :, 0].tolist() == [5.0, 5.0]
    assert seasonal_naive(history, 5, 3)[0, :, 0].tolist() == [4.0, 5.0, 5.0, 4.0, 5.0]
    assert seasonal_naive(history, 2, 7)[0, :, 0].tolist() == [5.0, 5.0]
    assert filled(np.array([[NAN, 2.0, NAN]])[:, :, None])[0, :, 0].tolist() == [2.0, 2.0, 2.0]
    assert filled(np.array([[NAN, NAN]])[:, :, None])[0, :, 0].tolist() == [0.0, 0.0]


def test_the_unit_of_mase_stays_within_stretches():
    values, segments = np.array([1.0, 2.0, 4.0, 100.0, 101.0]), np.array([0, 0, 0, 1, 1])
    assert seasonal_scale(values, segments, 1) == pytest.approx((1 + 2 + 1) / 3)
    assert seasonal_scale(values, segments, 4) == pytest.approx((1 + 2 + 1) / 3)  # nothing is a season apart: single steps
    assert seasonal_scale(np.ones(5), segments, 1) == 1.0


def test_windows_that_share_rows_give_wider_intervals_than_they_would_alone():
    random = np.random.default_rng(0)
    wave = np.repeat(random.normal(size=40), 10)[:, None, None]
    guess = np.zeros_like(wave)
    alone, together = (forecast_intervals(truth_of(wave, block=block), guess)["mae"] for block in (1, 10))
    assert together["high"] - together["low"] > 1.5 * (alone["high"] - alone["low"])
    value = forecast_metrics(truth_of(wave), guess)["mae"]
    assert together["low"] < value < together["high"]


def test_an_improvement_is_judged_on_the_same_windows():
    random = np.random.default_rng(1)
    values = random.normal(size=(200, 3, 1))
    truth = truth_of(values, groups=np.repeat([0, 1], 100), block=3)
    gain = improvement(truth, values * 0.5, np.zeros_like(values))
    assert gain["value"] == pytest.approx(0.5)
    assert gain["low"] == pytest.approx(0.5)  # half of every error: every resample says the same
    assert improvement(truth, values, values)["value"] == 0.0

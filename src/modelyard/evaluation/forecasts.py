"""Measures of forecasts, the forecasts that cost nothing, and how far both can be relied on.

Forecasts and truth are ``[windows, steps, targets]``; NaN in the truth is what nobody knows. Windows that follow each other share rows,
so that resamples draw blocks of neighbours: single windows would look surer of themselves than they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.evaluation.intervals import RESAMPLES, Intervals

Numbers = NDArray[np.float64]
MEASURES = ("mae", "rmse", "mase")


@dataclass(frozen=True)
class ForecastTruth:
    """What forecasts are measured against."""

    values: Numbers
    scales: Numbers
    """For each window and target: the error that repeating the last season makes in what was learned, the unit of MASE."""
    groups: NDArray[np.intp]
    block: int
    """Neighbouring windows that share rows."""


class Sums:
    """What each window adds to the measures; a resample then takes a few sums."""

    def __init__(self, truth: ForecastTruth, forecast: Numbers) -> None:
        known = ~np.isnan(truth.values)
        error = np.where(known, forecast - np.where(known, truth.values, 0.0), 0.0)
        self.count = known.sum(axis=(1, 2)).astype(np.float64)
        self.absolute = np.abs(error).sum(axis=(1, 2))
        self.squared = (error**2).sum(axis=(1, 2))
        self.scaled = (np.abs(error) / truth.scales[:, None, :]).sum(axis=(1, 2))

    def measures(self, weights: Numbers) -> dict[str, float]:
        count = float(weights @ self.count)
        return {
            "mae": float(weights @ self.absolute) / count,
            "rmse": float((weights @ self.squared) / count) ** 0.5,
            "mase": float(weights @ self.scaled) / count,
        }


def forecast_metrics(truth: ForecastTruth, forecast: Numbers) -> dict[str, float]:
    """MAE, RMSE and MASE over all windows, steps and targets."""
    return Sums(truth, forecast).measures(np.ones(len(forecast)))


def forecast_intervals(truth: ForecastTruth, forecast: Numbers, seed: int = 0) -> Intervals:
    """Of every measure, from resampled blocks of windows."""
    sums = Sums(truth, forecast)
    found = [sums.measures(weights) for weights in drawn_blocks(truth, seed)]
    return {name: _ends([measures[name] for measures in found]) for name in MEASURES}


def improvement(truth: ForecastTruth, forecast: Numbers, other: Numbers, seed: int = 0) -> dict[str, float]:
    """By which share the mean absolute error is smaller than another forecast's, on the same resampled windows."""
    mine, theirs = Sums(truth, forecast), Sums(truth, other)

    def share(weights: Numbers) -> float:
        reference = float(weights @ theirs.absolute)
        return 1.0 - float(weights @ mine.absolute) / reference if reference > 0 else 0.0

    return {"value": share(np.ones(len(forecast)))} | _ends([share(weights) for weights in drawn_blocks(truth, seed)])


def by_step(truth: ForecastTruth, forecast: Numbers) -> list[float]:
    """Mean absolute error at each step ahead; steps that nobody knows are left at 0."""
    known = ~np.isnan(truth.values)
    error = np.abs(np.where(known, forecast - np.where(known, truth.values, 0.0), 0.0)).sum(axis=(0, 2))
    return [float(value) for value in error / np.maximum(known.sum(axis=(0, 2)), 1)]


def drawn_blocks(truth: ForecastTruth, seed: int, count: int = RESAMPLES) -> Iterator[Numbers]:
    """How often each window counts in a resample: as many as there are, in blocks that end where their group ends and begin anew."""
    rows = len(truth.groups)
    first = np.searchsorted(truth.groups, truth.groups, "left")
    size = np.searchsorted(truth.groups, truth.groups, "right") - first
    steps = np.arange(max(1, min(truth.block, rows)))
    random = np.random.default_rng(seed)
    for _ in range(count):
        chosen = random.integers(0, rows, -(-rows // len(steps)))
        places = first[chosen, None] + (chosen[:, None] - first[chosen, None] + steps) % size[chosen, None]
        yield np.bincount(places.ravel()[:rows], minlength=rows).astype(np.float64)


def naive(history: Numbers, horizon: int) -> Numbers:
    """The last known value, again and again; ``history`` is ``[windows, rows, targets]``."""
    return np.repeat(filled(history)[:, -1:, :], horizon, axis=1)


def seasonal_naive(history: Numbers, horizon: int, season: int) -> Numbers:
    """What was known a season before, or the last value where a window is shorter than a season."""
    if season > history.shape[1]:
        return naive(history, horizon)
    last = filled(history)[:, -season:, :]
    return last[:, np.arange(horizon) % season, :]


def filled(history: Numbers) -> Numbers:
    """The last value known before a missing one; the first known one before all; 0 where nothing is known."""
    known = ~np.isnan(history)
    places = np.arange(history.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(known, places, -1), axis=1)
    first = np.where(known.any(axis=1), known.argmax(axis=1), 0)[:, None, :]
    found = np.take_along_axis(history, np.where(last < 0, first, last), axis=1)
    return np.where(np.isnan(found), 0.0, found)


def seasonal_scale(values: Numbers, segments: NDArray[np.intp], season: int) -> float:
    """The mean error of repeating the season before, within stretches; falls back to single steps, then to the deviation, then to 1."""
    for lag in (season, 1):
        same = segments[lag:] == segments[:-lag]
        change = np.abs(values[lag:] - values[:-lag])[same]
        change = change[np.isfinite(change)]
        if len(change) and change.mean() > 0:
            return float(change.mean())
    known = values[np.isfinite(values)]
    return float(known.std()) or 1.0 if len(known) else 1.0


def _ends(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def measured(methods: Mapping[str, Numbers], truth: ForecastTruth, seed: int) -> list[dict[str, Any]]:
    """One entry a method: its measures with their intervals."""
    return [
        {"method": name, **forecast_metrics(truth, forecast), "intervals": forecast_intervals(truth, forecast, seed)}
        for name, forecast in methods.items()
    ]

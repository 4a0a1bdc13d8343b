"""How far a measure on held-out rows can be relied on: the interval that holds 95 % of what resampled rows give (bootstrap).

A row that is drawn k times weighs k, so that nothing is copied and every resample takes a few sums over the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelyard.evaluation.metrics import language_metrics, surprises

Weights = NDArray[np.float64]
Numbers = NDArray[np.float64]
Intervals = dict[str, dict[str, float]]
"""Measure → its ``low`` and ``high`` end."""
RESAMPLES = 500
_MOST_SUMS = 20_000_000
"""Rows times classes times resamples; more rows need fewer resamples than they would cost."""


def classification_intervals(truth: NDArray[np.integer], probabilities: Numbers, seed: int = 0) -> Intervals:
    """Of every measure that ``classification_metrics`` gives."""
    resampled = _Classification(truth.astype(np.intp), probabilities.astype(np.float64))
    return _intervals(len(truth), resampled.measures, seed, _resamples(probabilities.size))


def regression_intervals(truth: Numbers, predicted: Numbers, seed: int = 0) -> Intervals:
    """Of every measure that ``regression_metrics`` gives."""
    error = np.abs(predicted - truth)
    square = error**2

    def measures(weights: Weights) -> Mapping[str, float]:
        total = weights.sum()
        squares = _sum(weights, square)
        spread = _sum(weights, (truth - _sum(weights, truth) / total) ** 2)
        found = {"rmse": (squares / total) ** 0.5, "mae": _sum(weights, error) / total}
        return {"r2": 1.0 - squares / spread, **found} if spread > 0 else found

    return _intervals(len(truth), measures, seed, _resamples(len(truth)))


def language_intervals(nats: Numbers, tokens: Numbers, bytes_a_token: float | None = None, seed: int = 0) -> Intervals:
    """Of every measure that ``language_metrics`` gives; ``nats`` are sums over pieces of so many ``tokens`` each."""

    def measures(weights: Weights) -> Mapping[str, float]:
        return language_metrics(float(weights @ nats) / float(weights @ tokens), bytes_a_token)

    return _intervals(len(nats), measures, seed, _resamples(len(nats)))


def paired_interval(mine: Numbers, theirs: Numbers, seed: int = 0) -> dict[str, float]:
    """The difference of two means over the same rows."""
    difference = mine - theirs
    found = _intervals(len(mine), lambda weights: {"value": float(weights @ difference) / weights.sum()}, seed, RESAMPLES)
    return {"value": float(difference.mean()), **found["value"]}


class _Ranks(NamedTuple):
    """The rows by one class's score."""

    groups: NDArray[np.intp]
    """The place of each row's score among all."""
    mine: NDArray[np.intp]
    """Rows of the class."""
    mine_groups: NDArray[np.intp]


class _Classification:
    """Everything that does not change between resamples is computed once."""

    def __init__(self, truth: NDArray[np.intp], probabilities: Numbers) -> None:
        self._classes = probabilities.shape[1]
        chosen = probabilities.argmax(axis=1)
        self._cell = truth * self._classes + chosen
        self._surprise = surprises(truth, probabilities)
        ranked = (1,) if self._classes == 2 else tuple(range(self._classes))
        # Equal scores are one group: half of a tie counts as right.
        groups = [(np.unique(probabilities[:, code], return_inverse=True)[1], np.flatnonzero(truth == code)) for code in ranked]
        self._ranks = [_Ranks(of, mine, of[mine]) for of, mine in groups]

    def measures(self, weights: Weights) -> Mapping[str, float]:
        total = weights.sum()
        counts = np.bincount(self._cell, weights, self._classes**2).reshape(self._classes, self._classes)
        hits, wanted, given = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
        seen = (wanted + given) > 0
        precision, recall = hits / np.maximum(given, 1), hits / np.maximum(wanted, 1)
        f1 = 2 * hits / np.maximum(wanted + given, 1)
        found = {
            "accuracy": float(hits.sum() / total),
            "precision_macro": float(precision[seen].mean()),
            "recall_macro": float(recall[seen].mean()),
            "f1_macro": float(f1[seen].mean()),
            "f1_weighted": float((f1 * wanted).sum() / total),
            "log_loss": _sum(weights, self._surprise) / total,
        }
        areas = [area for ranks in self._ranks if (area := _area(ranks, weights)) is not None]
        return found | ({"roc_auc": float(np.mean(areas))} if areas else {})


def _area(ranks: _Ranks, weights: Weights) -> float | None:
    """The area under the ROC curve of one class; None where the rows are all of it, or none."""
    every = np.bincount(ranks.groups, weights)
    hits = np.bincount(ranks.mine_groups, weights[ranks.mine], len(every))
    others = every - hits  # exact, because weights are whole numbers
    pairs = hits.sum() * others.sum()
    if not pairs:
        return None
    return float((hits * (np.cumsum(others) - 0.5 * others)).sum() / pairs)


def _sum(weights: Weights, values: Numbers) -> float:
    """Not as a product of matrices: threads for one take longer than the sum itself."""
    return float(np.einsum("i,i->", weights, values))


def _resamples(sums: int) -> int:
    return max(50, min(RESAMPLES, _MOST_SUMS // max(sums, 1)))


def _drawn(rows: int, seed: int, count: int) -> Iterator[Weights]:
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)


def _intervals(rows: int, measures: Callable[[Weights], Mapping[str, float]], seed: int, count: int) -> Intervals:
    found: dict[str, list[float]] = {}
    for weights in _drawn(rows, seed, count):
        for name, value in measures(weights).items():
            found.setdefault(name, []).append(value)
    edges = {name: np.quantile(values, [0.025, 0.975]) for name, values in found.items()}
    return {name: {"low": float(low), "high": float(high)} for name, (low, high) in edges.items()}

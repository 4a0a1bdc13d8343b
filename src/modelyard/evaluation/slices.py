"""How good a model is on parts of the rows: where a column has a frequent value, lies in a quarter of its range, or is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Score = Callable[[Rows], float]
"""Rows → the deciding metric on them; NaN where it cannot be had."""
FEWEST = 20
"""Rows that a slice needs: of fewer, chance says more than the model."""
_MOST_VALUES = 5
_MOST_SLICES = 60
_QUARTERS = (0.25, 0.5, 0.75)
_RESAMPLES = 60


def slices(
    columns: Mapping[str, NDArray[Any]], score: Score, *, higher_is_better: bool, seed: int = 0, block: int = 1
) -> list[dict[str, Any]]:
    """Every slice with at least ``FEWEST`` rows, the worst first: ``column``, ``value``, ``rows``, ``score``, and the interval that holds
    95 % of resampled slices as ``low`` and ``high``.

    Columns are one-dimensional: numbers with NaN, or words with ``""``, for missing. Where ``block`` neighbours say much the same, as
    windows of a series do, they are drawn together.
    """
    random = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for name, values in columns.items():
        for title, chosen in _parts(np.asarray(values)):
            rows = np.flatnonzero(chosen)
            if not FEWEST <= len(rows) < len(values):
                continue
            value = score(rows)
            if np.isfinite(value):
                found.append({"column": name, "value": title, "rows": len(rows), "score": value, "at": rows})
    found.sort(key=lambda entry: entry["score"] if higher_is_better else -entry["score"])
    found = found[:_MOST_SLICES]
    for entry in found:
        rows = entry.pop("at")
        drawn = [score(rows[_drawn(random, len(rows), block)]) for _ in range(_RESAMPLES)]
        usable = [value for value in drawn if np.isfinite(value)] or [entry["score"]]
        entry["low"], entry["high"] = (float(end) for end in np.quantile(usable, [0.025, 0.975]))
    return found


def mean_slices(
    columns: Mapping[str, NDArray[Any]], each: NDArray[Any], metric: str, *, higher_is_better: bool, seed: int = 0, block: int = 1
) -> dict[str, Any]:
    """``{"metric", "slices"}`` of a metric that is the mean of a value a row, such as a hit or an error; NaN is left out."""

    def score(rows: Rows) -> float:
        known = each[rows][~np.isnan(each[rows])]
        return float(known.mean()) if len(known) else float("nan")

    return {"metric": metric, "slices": slices(columns, score, higher_is_better=higher_is_better, seed=seed, block=block)}


def _drawn(random: np.random.Generator, count: int, block: int) -> Rows:
    starts = random.integers(0, count, -(-count // block))
    found: Rows = ((starts[:, None] + np.arange(block)) % count).ravel()[:count]
    return found


def _parts(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if values.dtype.kind in "fiub":
        yield from _quarters(values.astype(np.float64))
        return
    words, counts = np.unique(values.astype(str), return_counts=True)
    for at in np.argsort(-counts, kind="stable")[:_MOST_VALUES]:
        yield (str(words[at]) or "(missing)"), np.asarray(values.astype(str) == words[at])


def _quarters(numbers: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    missing = np.isnan(numbers)
    if missing.any():
        yield "(missing)", missing
    present = numbers[~missing]
    few = np.unique(present)
    if len(few) <= _MOST_VALUES:
        for value in few:
            yield f"{value:g}", numbers == value
        return
    edges = np.unique(np.quantile(present, _QUARTERS))
    place = np.digitize(numbers, edges)
    for at in range(len(edges) + 1):
        low = f"{edges[at - 1]:.4g}" if at else ""
        high = f"{edges[at]:.4g}" if at < len(edges) else ""
        title = f"{low} to {high}" if low and high else f"below {high}" if high else f"from {low}"
        yield title, (place == at) & ~missing

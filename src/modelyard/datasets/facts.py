"""What profiles of all kinds of data are made of: facts before and after preparation, parts side by side, distributions to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.datasets.table import Rows

Numbers = NDArray[np.float64]
_FAR = 3.0
"""Interquartile ranges beyond the quartiles from which on a value is unusual (Tukey's outer fences)."""
_LOPSIDED = 10
_BINS = 24


@dataclass(frozen=True)
class Fact:
    """One thing about the data as they came, and as they are learned from; None where it makes no sense."""

    what: str
    before: float | str | None
    after: float | str | None

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "before": self.before, "after": self.after}


def spread(values: NDArray[Any]) -> str:
    """Two outer values and the median."""
    if not len(values):
        return "none"
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"{low:.4g}, {middle:.4g}, {high:.4g}"


def outliers(values: Numbers) -> int:
    """How many lie far outside of what is usual; none where half of all are alike."""
    known = values[~np.isnan(values)]
    if not len(known):
        return 0
    low, high = np.quantile(known, [0.25, 0.75])
    if low == high:
        return 0
    reach = _FAR * (high - low)
    return int(((known < low - reach) | (known > high + reach)).sum())


def balance(labels: NDArray[np.intp], classes: Sequence[str], parts: Mapping[str, Rows]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of each class in each part, and what should be known of them."""
    counts = {part: np.bincount(labels[rows], minlength=len(classes)) for part, rows in parts.items()}
    table = [
        {"part": part, "rows": int(found.sum()), "classes": dict(zip(classes, found.tolist(), strict=True))}
        for part, found in counts.items()
    ]
    notes = []
    learned = counts["train"]
    if learned.min() * _LOPSIDED < learned.max():
        rare, frequent = classes[int(learned.argmin())], classes[int(learned.argmax())]
        notes.append(
            f"There are {learned.max() / max(1, learned.min()):.0f} times as many rows of {frequent!r} as of {rare!r}: look at f1_macro "
            "rather than at accuracy, and try balanced class weights."
        )
    for part, found in counts.items():
        lacking = [name for name, count in zip(classes, found, strict=True) if not count]
        if lacking:
            notes.append(f"No row of {part.replace('_', ' ')} is of the class {lacking[0]!r}; what is said of it says little.")
    return table, notes


def histogram(title: str, parts: Mapping[str, Numbers]) -> dict[str, Any]:
    """Shares of each part's rows between common edges, to lay over each other."""
    known = {part: values[np.isfinite(values)] for part, values in parts.items()}
    every = np.concatenate(list(known.values()))
    if not len(every):
        return {"kind": "histogram", "title": title, "edges": [0.0, 1.0], "parts": {}}
    edges = np.histogram_bin_edges(every, bins=_BINS)
    shares = {part: (np.histogram(values, edges)[0] / max(1, len(values))).tolist() for part, values in known.items()}
    return {"kind": "histogram", "title": title, "edges": edges.tolist(), "parts": shares}

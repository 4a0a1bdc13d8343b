"""How far probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

_BINS = 10


def calibration_bins(confidence: ArrayLike, right: ArrayLike) -> list[dict[str, float]]:
    """For each tenth of the probabilities given to the chosen class: their mean, how often it was right, and the rows."""
    given, hit = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    place = np.minimum((given * _BINS).astype(int), _BINS - 1)
    return [
        {"confidence": float(given[place == at].mean()), "accuracy": float(hit[place == at].mean()), "rows": int((place == at).sum())}
        for at in range(_BINS)
        if (place == at).any()
    ]


def calibration_error(bins: Sequence[Mapping[str, float]]) -> float:
    """The mean difference between what was promised and what was right, by rows."""
    total = sum(entry["rows"] for entry in bins)
    return sum(abs(entry["confidence"] - entry["accuracy"]) * entry["rows"] for entry in bins) / total

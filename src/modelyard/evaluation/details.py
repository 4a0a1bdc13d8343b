"""What a report says of predictions on held-out rows besides their metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.evaluation.calibration import calibration_bins, calibration_error
from modelyard.evaluation.intervals import classification_intervals, regression_intervals
from modelyard.evaluation.metrics import confusion, per_class

_QUANTILES = (1, 5, 25, 50, 75, 95, 99)
_KEPT_RESIDUALS = 1_000


def evaluate_classes(truth: NDArray[Any], probabilities: NDArray[np.float64], names: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Classes, confusion, intervals and calibration."""
    codes, chosen = truth.astype(np.int64), probabilities.argmax(axis=1)
    bins = calibration_bins(probabilities.max(axis=1), chosen == codes)
    return {
        "classes": per_class(codes, chosen, names),
        "confusion_matrix": {"classes": list(names), "counts": confusion(codes, chosen, len(names)).tolist()},
        "intervals": classification_intervals(codes, probabilities, seed),
        "calibration": {"error": calibration_error(bins), "bins": bins},
    }


def evaluate_numbers(truth: NDArray[Any], predicted: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Residuals and intervals."""
    quantities = truth.astype(np.float64)
    residuals = predicted - quantities
    return {
        "residual_quantiles": {f"p{share}": float(np.percentile(residuals, share)) for share in _QUANTILES},
        "residuals": [round(float(value), 6) for value in residuals[:_KEPT_RESIDUALS]],
        "intervals": regression_intervals(quantities, predicted, seed),
    }

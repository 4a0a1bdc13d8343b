"""Measures of predictions against the truth, by their names: a thin layer over ``sklearn.metrics``.

Classes are class numbers 0 … C-1 and probabilities a column a class. A measure that the rows cannot give (one class only) is left out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

Numbers = NDArray[np.floating]
Classes = NDArray[np.integer]

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "accuracy": True,
    "precision_macro": True,
    "recall_macro": True,
    "f1_macro": True,
    "f1_weighted": True,
    "roc_auc": True,
    "log_loss": False,
    "r2": True,
    "rmse": False,
    "mae": False,
    "perplexity": False,
    "nats_per_token": False,
    "bits_per_byte": False,
}
"""Every measure's direction."""


def _roc_auc(truth: Classes, probabilities: Numbers) -> float:
    seen = np.unique(truth)
    if probabilities.shape[1] == 2:
        return float(sk.roc_auc_score(truth, probabilities[:, 1])) if len(seen) == 2 else math.nan
    # One class against the rest, averaged over the classes that the rows hold.
    areas = [sk.roc_auc_score(truth == code, probabilities[:, code]) for code in seen if len(seen) > 1]
    return float(np.mean(areas)) if areas else math.nan


def _log_loss(truth: Classes, probabilities: Numbers) -> float:
    # As sklearn.metrics.log_loss, without its checks, which cost more than the sum: this breaks ties after every fit.
    tiny = float(np.finfo(np.float32).eps)
    clipped = np.clip(probabilities.astype(np.float64), tiny, 1.0)
    right = clipped[np.arange(len(truth)), truth] / clipped.sum(axis=1)
    return float(-np.log(right).mean())


def _averaged(measure: Callable[..., float], average: str) -> Callable[[Classes, Numbers], float]:
    def of(truth: Classes, probabilities: Numbers) -> float:
        return float(measure(truth, probabilities.argmax(axis=1), average=average, zero_division=0))

    return of


_CLASSIFICATION: Mapping[str, Callable[[Classes, Numbers], float]] = {
    "accuracy": lambda truth, probabilities: float(sk.accuracy_score(truth, probabilities.argmax(axis=1))),
    "precision_macro": _averaged(sk.precision_score, "macro"),
    "recall_macro": _averaged(sk.recall_score, "macro"),
    "f1_macro": _averaged(sk.f1_score, "macro"),
    "f1_weighted": _averaged(sk.f1_score, "weighted"),
    "roc_auc": _roc_auc,
    "log_loss": _log_loss,
}
_REGRESSION: Mapping[str, Callable[[Numbers, Numbers], float]] = {
    "r2": lambda truth, predicted: float(sk.r2_score(truth, predicted)) if len(truth) > 1 else math.nan,
    "rmse": lambda truth, predicted: float(sk.root_mean_squared_error(truth, predicted)),
    "mae": lambda truth, predicted: float(sk.mean_absolute_error(truth, predicted)),
}


def classification_metrics(truth: Classes, probabilities: Numbers, names: Iterable[str] = tuple(_CLASSIFICATION)) -> dict[str, float]:
    """The named measures of a classifier (all by default)."""
    return _finite({name: _CLASSIFICATION[name](truth, probabilities) for name in names})


def regression_metrics(truth: Numbers, predicted: Numbers, names: Iterable[str] = tuple(_REGRESSION)) -> dict[str, float]:
    """The named measures of a regressor (all by default)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return _finite({name: _REGRESSION[name](truth, predicted) for name in names})


def per_class(truth: Classes, predicted: Classes, names: tuple[str, ...]) -> list[dict[str, float | str | int]]:
    """Precision, recall, F1 and support of each class."""
    order = np.arange(len(names))
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, predicted, labels=order, zero_division=0)
    return [
        {
            "class": names[at],
            "precision": float(precision[at]),
            "recall": float(recall[at]),
            "f1": float(f1[at]),
            "support": int(support[at]),
        }
        for at in order
    ]


def confusion(truth: Classes, predicted: Classes, classes: int) -> NDArray[np.int64]:
    """Counts: a row for each true class, a column for each predicted one."""
    counts: NDArray[np.int64] = sk.confusion_matrix(truth, predicted, labels=np.arange(classes)).astype(np.int64)
    return counts


def _finite(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if math.isfinite(value)}


def language_metrics(nats_per_token: float, bytes_per_token: float | None = None) -> dict[str, float]:
    """How surprised a language model is. Only the bits a byte can be compared between models that cut text differently."""
    found = {"perplexity": math.exp(min(nats_per_token, 700.0)), "nats_per_token": nats_per_token}
    return found if bytes_per_token is None else found | {"bits_per_byte": nats_per_token / math.log(2) / bytes_per_token}

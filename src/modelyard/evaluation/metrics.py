"""Measures of predictions against the truth, by their names, as scikit-learn defines them; a test compares the two.

Computed here, because loading scikit-learn takes longer than most of what is measured. Classes are class numbers 0 … C-1 and probabilities
a column a class. A measure that the rows cannot give (one class only) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


def _accuracy(truth: Classes, probabilities: Numbers) -> float:
    return float(np.mean(truth == probabilities.argmax(axis=1)))


def _roc_auc(truth: Classes, probabilities: Numbers) -> float:
    seen = np.unique(truth)
    if len(seen) < 2:
        return math.nan
    if probabilities.shape[1] == 2:
        return _area(truth == 1, probabilities[:, 1])
    # One class against the rest, averaged over the classes that the rows hold.
    return float(np.mean([_area(truth == code, probabilities[:, code]) for code in seen]))


def _area(mine: NDArray[np.bool_], scores: Numbers) -> float:
    """The area under the ROC curve: the share of pairs that are in order, where a tie counts half."""
    groups = np.unique(scores, return_inverse=True)[1]
    hits, others = np.bincount(groups, mine), np.bincount(groups, ~mine)
    return float(hits @ (np.cumsum(others) - 0.5 * others) / (hits.sum() * others.sum()))


def surprises(truth: Classes, probabilities: Numbers) -> NDArray[np.float64]:
    """Of each row what the logarithmic loss is the mean of."""
    tiny = float(np.finfo(np.float32).eps)
    clipped = np.clip(probabilities.astype(np.float64), tiny, 1.0)
    found: NDArray[np.float64] = -np.log(clipped[np.arange(len(truth)), truth] / clipped.sum(axis=1))
    return found


def _log_loss(truth: Classes, probabilities: Numbers) -> float:
    return float(surprises(truth, probabilities).mean())


class _Shares(NamedTuple):
    """Of each class: how many of those chosen are right, how many of those there are were chosen, and the harmonic mean of both."""

    precision: Numbers
    recall: Numbers
    f1: Numbers
    support: Numbers
    seen: NDArray[np.bool_]
    """Classes that are true or chosen anywhere."""


def _shares(counts: NDArray[np.int64]) -> _Shares:
    hits, wanted, given = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    either = wanted + given
    return _Shares(hits / np.maximum(given, 1), hits / np.maximum(wanted, 1), 2 * hits / np.maximum(either, 1), wanted, either > 0)


def _averaged(measure: Callable[[_Shares], float]) -> Callable[[Classes, Numbers], float]:
    def of(truth: Classes, probabilities: Numbers) -> float:
        return float(measure(_shares(confusion(truth, probabilities.argmax(axis=1), probabilities.shape[1]))))

    return of


_CLASSIFICATION: Mapping[str, Callable[[Classes, Numbers], float]] = {
    "accuracy": _accuracy,
    "precision_macro": _averaged(lambda found: found.precision[found.seen].mean()),
    "recall_macro": _averaged(lambda found: found.recall[found.seen].mean()),
    "f1_macro": _averaged(lambda found: found.f1[found.seen].mean()),
    "f1_weighted": _averaged(lambda found: found.f1 @ found.support / found.support.sum()),
    "roc_auc": _roc_auc,
    "log_loss": _log_loss,
}


def _r2(truth: Numbers, predicted: Numbers) -> float:
    if len(truth) < 2:
        return math.nan
    left, spread = ((truth - predicted) ** 2).sum(axis=0), ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    # Where the truth never changes there is nothing to explain: all of it is, or none.
    return float(np.mean(np.where(spread > 0, 1.0 - left / np.where(spread > 0, spread, 1.0), left == 0)))


_REGRESSION: Mapping[str, Callable[[Numbers, Numbers], float]] = {
    "r2": _r2,
    "rmse": lambda truth, predicted: float(np.sqrt(((truth - predicted) ** 2).mean(axis=0)).mean()),
    "mae": lambda truth, predicted: float(np.abs(truth - predicted).mean()),
}


def classification_metrics(truth: Classes, probabilities: Numbers, names: Iterable[str] = tuple(_CLASSIFICATION)) -> dict[str, float]:
    """The named measures of a classifier (all by default)."""
    return _finite({name: _CLASSIFICATION[name](truth, probabilities) for name in names})


def regression_metrics(truth: Numbers, predicted: Numbers, names: Iterable[str] = tuple(_REGRESSION)) -> dict[str, float]:
    """The named measures of a regressor (all by default); the mean over the columns where there are several."""
    first, second = (np.asarray(values, np.float64).reshape(len(values), -1) for values in (truth, predicted))
    return _finite({name: _REGRESSION[name](first, second) for name in names})


def per_class(truth: Classes, predicted: Classes, names: tuple[str, ...]) -> list[dict[str, float | str | int]]:
    """Precision, recall, F1 and support of each class."""
    found = _shares(confusion(truth, predicted, len(names)))
    return [
        {
            "class": name,
            "precision": float(found.precision[at]),
            "recall": float(found.recall[at]),
            "f1": float(found.f1[at]),
            "support": int(found.support[at]),
        }
        for at, name in enumerate(names)
    ]


def confusion(truth: Classes, predicted: Classes, classes: int) -> NDArray[np.int64]:
    """Counts: a row for each true class, a column for each predicted one."""
    cells = truth.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def _finite(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if math.isfinite(value)}


def language_metrics(nats_per_token: float, bytes_per_token: float | None = None) -> dict[str, float]:
    """How surprised a language model is. Only the bits a byte can be compared between models that cut text differently."""
    found = {"perplexity": math.exp(min(nats_per_token, 700.0)), "nats_per_token": nats_per_token}
    return found if bytes_per_token is None else found | {"bits_per_byte": nats_per_token / math.log(2) / bytes_per_token}

"""How good a network for texts is on what was held out, beside counting words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from modelyard.evaluation.calibration import calibration_bins, calibration_error
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.intervals import classification_intervals, paired_interval
from modelyard.evaluation.metrics import classification_metrics, confusion, per_class
from modelyard.evaluation.slices import mean_slices
from modelyard.train.networks.text_data import TextProblem

_TOLD = 24
_CHARACTERS = 200
_MOST_COLUMNS = 20
Numbers = NDArray[np.float64]
Evaluated = tuple[dict[str, float], dict[str, Any], tuple[str, ...]]
"""Metrics, details, and the pictures that were drawn."""


def evaluate(problem: TextProblem, predicted: Numbers, illustrator: Illustrator) -> Evaluated:
    """From the held-out texts, which are used here for the first time; has their pictures drawn."""
    truth, chosen = problem.labels[problem.test], predicted.argmax(axis=1)
    counts = confusion(truth, chosen, len(problem.classes))
    bins = calibration_bins(predicted.max(axis=1), truth == chosen)
    error = calibration_error(bins)
    illustrator.draw("confusion", "confusion_matrix", counts=counts, names=problem.classes, title=f"{len(truth):,} held-out texts")
    illustrator.draw("calibration", "calibration", bins=bins, error=error)
    others = rivals(problem)
    rows: list[dict[str, Any]] = [
        {"method": name, **classification_metrics(truth, found), "intervals": classification_intervals(truth, found, problem.recipe.seed)}
        for name, found in others.items()
    ]
    best = max(rows, key=lambda row: row["accuracy"])["method"]
    wrong = np.flatnonzero(truth != chosen)
    surest = wrong[np.argsort(-predicted[wrong].max(axis=1), kind="stable")][:_TOLD]
    details = {
        "classes": per_class(truth, chosen, problem.classes),
        "confusion_matrix": {"classes": list(problem.classes), "counts": counts.tolist()},
        "intervals": classification_intervals(truth, predicted, problem.recipe.seed),
        "calibration": {"error": error, "bins": bins},
        "slices": mean_slices(
            _aspects(problem), (truth == chosen).astype(float), "accuracy", higher_is_better=True, seed=problem.recipe.seed
        ),
        "baselines": rows,
        "improvement": _improvement(best, truth == chosen, truth == others[best].argmax(axis=1), problem.recipe.seed),
        "mistakes": [
            {
                "row": int(problem.rows[problem.test[at]]) + 1,
                "text": problem.texts[problem.test[at]][:_CHARACTERS],
                "true": problem.classes[truth[at]],
                "predicted": problem.classes[chosen[at]],
                "probability": round(float(predicted[at].max()), 4),
            }
            for at in surest
        ],
    }
    return classification_metrics(truth, predicted) | {"calibration_error": error}, details, ("confusion_matrix", "calibration")


def _aspects(problem: TextProblem) -> dict[str, NDArray[Any]]:
    """What may make a held-out text hard: how long it is, and what the table's other columns say of it."""
    aspects: dict[str, NDArray[Any]] = {"words of the text": np.array([len(text.split()) for text in problem.of(problem.test)], np.float64)}
    known = {problem.recipe.text, problem.recipe.target}
    for column in [column for column in problem.table if column.name not in known][:_MOST_COLUMNS]:
        mine = column.take(problem.rows[problem.test])
        aspects[column.name] = mine.values if mine.is_number else mine.texts()
    return aspects


def rivals(problem: TextProblem) -> dict[str, Numbers]:
    """Probabilities by the most frequent class, and by a logistic regression of weighted counts of words and pairs of them."""
    learned = np.concatenate([problem.train, problem.validate])
    labels = problem.labels[learned]
    shares = np.bincount(labels, minlength=len(problem.classes)) / len(labels)
    found = {"most frequent class": np.tile(shares, (len(problem.test), 1))}
    counter = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")  # noqa: S106 - of words
    try:
        seen = counter.fit_transform(problem.of(learned))
    except ValueError:  # texts without a word, such as emoji: there is nothing to count
        return found
    linear = LogisticRegression(C=10.0, max_iter=2_000).fit(seen, labels)
    return found | {"counted words": linear.predict_proba(counter.transform(problem.of(problem.test)))}


def _improvement(method: str, right: NDArray[np.bool_], theirs: NDArray[np.bool_], seed: int) -> dict[str, Any]:
    """The gain in accuracy over another method on the same resampled texts, and what may be said of it."""
    gain = paired_interval(right.astype(np.float64), theirs.astype(np.float64), seed)
    if gain["low"] > 0:
        verdict = f"better than {method}: {gain['value']:.1%} more of the texts are right"
    elif gain["high"] < 0:
        verdict = f"worse than {method}: bring more texts, or begin with an encoder that has learned from many"
    else:
        verdict = f"no better than {method}, as far as the held-out texts can tell"
    return {"over": method, **gain, "verdict": verdict}

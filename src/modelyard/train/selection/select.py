"""Which columns a training keeps, and how the methods compare: by cross-validation, each choosing anew within every fold."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidRequest
from modelyard.evaluation.metrics import HIGHER_IS_BETTER, classification_metrics, regression_metrics
from modelyard.train.families import FAMILIES
from modelyard.train.model import fit_model, prepare_rows, shape_of
from modelyard.train.problem import Problem, Task
from modelyard.train.recipes.table import TableRecipe
from modelyard.train.selection.methods import choose

Report = Callable[[str, float, str], None]
_JUDGE = {Task.CLASSIFICATION: "logistic", Task.REGRESSION: "ridge"}
"""The family that tells how good a choice is."""
_COMPARED = ("mutual_information", "information_gain", "chi2", "recursive", "permutation", "qubo")


@dataclass(frozen=True)
class Selection:
    """What was kept, and what else was tried."""

    problem: Problem
    """With the kept columns only."""
    report: dict[str, Any]


def select_features(problem: Problem, recipe: TableRecipe, report: Report) -> Selection | None:
    """Keeps as many columns as the recipe says; None where it does not ask for that.

    The rows that are held out take no part. Raises InvalidRequest for more columns than there are.
    """
    method = recipe.features.select
    if method == "none":
        return None
    names = problem.features.names
    keep = _count(recipe.features.keep, len(names))
    tried = _COMPARED if method == "compare" else (method,)
    board = []
    for at, name in enumerate(("all", *tried)):
        report("select", at / (len(tried) + 1), f"judging the columns that {name.replace('_', ' ')} keeps")
        board.append(_judged(name, problem, recipe, len(names) if name == "all" else keep))
    better = HIGHER_IS_BETTER[problem.metric]
    best = max(board[1:], key=lambda row: row["mean"] if better else -row["mean"])["method"]
    kept = [names[at] for at in choose(best, problem, recipe, problem.train, keep)]
    reasons = {name: f"not among the {keep} that {best.replace('_', ' ')} keeps" for name in names if name not in kept}
    chosen = replace(problem.with_features(kept), excluded={**problem.excluded, **reasons})
    return Selection(chosen, {"method": best, "kept": kept, "left_out": list(reasons), "metric": problem.metric, "comparison": board})


def _count(wanted: int | float, columns: int) -> int:
    keep = max(1, round(wanted * columns)) if isinstance(wanted, float) and wanted < 1 else int(wanted)
    if keep >= columns:
        raise InvalidRequest(
            f"features.keep is {wanted:g}, and there are {columns} usable columns; keep fewer, or set features.select to none."
        )
    return keep


def _judged(name: str, problem: Problem, recipe: TableRecipe, keep: int) -> dict[str, Any]:
    """Mean and deviation of the metric over the folds, with the columns chosen from each fold's own rows."""
    family = FAMILIES.get(_JUDGE[problem.task])
    scores, kept = [], []
    for fit, check in problem.folds(recipe.folds):
        columns = list(range(len(problem.features.names))) if name == "all" else choose(name, problem, recipe, fit, keep)
        kept.append(columns)
        part = problem.with_features([problem.features.names[at] for at in columns])
        prepared = prepare_rows(part, recipe.preparation_options(), fit)
        shape = shape_of(part, len(fit), prepared.features.shape[1], 1)
        predicted = fit_model(family, family.candidates(shape)[0], shape, prepared).predict(part.features, check)
        truth = problem.values[check]
        found = (
            classification_metrics(truth.astype(np.int64), predicted, [problem.metric])
            if problem.task is Task.CLASSIFICATION
            else regression_metrics(truth.astype(np.float64), predicted, [problem.metric])
        )
        scores.append(found.get(problem.metric, 0.0))
    counts = np.bincount(np.concatenate(kept), minlength=len(problem.features.names))
    return {
        "method": name,
        "columns": keep,
        "mean": statistics.fmean(scores),
        "std": statistics.pstdev(scores),
        "stability": float(counts[counts > 0].mean() / len(kept)),
    }

"""The deciding metric on parts of a table's held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.evaluation.metrics import HIGHER_IS_BETTER, classification_metrics, regression_metrics
from modelyard.evaluation.slices import slices
from modelyard.train.problem import Problem, Task
from modelyard.train.proof import feed

_MOST_ROWS = 20_000


def table_slices(problem: Problem, predicted: NDArray[np.float64]) -> dict[str, Any]:
    """``{"metric", "slices"}``; ``predicted`` are probabilities or quantities of the held-out rows, in their order."""
    rows = problem.test[:_MOST_ROWS]
    columns = {name: values.reshape(-1) for name, values in feed(problem.features.take(rows)).items()}
    truth, metric = problem.values[rows], slice_metric(problem.task, problem.metric)

    def score(chosen: NDArray[np.intp]) -> float:
        return slice_score(problem.task, metric, truth[chosen], predicted[: len(rows)][chosen])

    return {"metric": metric, "slices": slices(columns, score, higher_is_better=HIGHER_IS_BETTER[metric], seed=problem.seed)}


def slice_metric(task: Task, metric: str) -> str:
    """What slices are judged by: a slice may hold rows of one class only, on which F1 and the area under the curve say nothing."""
    if task is Task.REGRESSION:
        return metric if metric != "r2" else "rmse"
    return metric if metric == "log_loss" else "accuracy"


def slice_score(task: Task, metric: str, truth: NDArray[Any], predicted: NDArray[np.float64]) -> float:
    """NaN where it cannot be had."""
    if task is Task.REGRESSION:
        return regression_metrics(truth.astype(np.float64), predicted.astype(np.float64), [metric]).get(metric, np.nan)
    return classification_metrics(truth.astype(np.int64), predicted.astype(np.float64), [metric]).get(metric, np.nan)

"""The deciding metric on parts of a table's held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.evaluation.metrics import HIGHER_IS_BETTER, surprises
from modelyard.evaluation.slices import Score, slices
from modelyard.train.problem import Problem, Task
from modelyard.train.proof import feed

_MOST_ROWS = 20_000


def table_slices(problem: Problem, predicted: NDArray[np.float64]) -> dict[str, Any]:
    """``{"metric", "slices"}``; ``predicted`` are probabilities or quantities of the held-out rows, in their order."""
    rows = problem.test[:_MOST_ROWS]
    columns = {name: values.reshape(-1) for name, values in feed(problem.features.take(rows)).items()}
    metric = slice_metric(problem.task, problem.metric)
    score = slice_score(metric, problem.values[rows], predicted[: len(rows)])
    return {"metric": metric, "slices": slices(columns, score, higher_is_better=HIGHER_IS_BETTER[metric], seed=problem.seed)}


def slice_metric(task: Task, metric: str) -> str:
    """What slices are judged by: a slice may hold rows of one class only, on which F1 and the area under the curve say nothing."""
    if task is Task.REGRESSION:
        return metric if metric != "r2" else "rmse"
    return metric if metric == "log_loss" else "accuracy"


def slice_score(metric: str, truth: NDArray[Any], predicted: NDArray[np.float64]) -> Score:
    """What some of the rows are worth by one of the metrics that ``slice_metric`` gives.

    All are means over the rows, computed once for each row: slices are scored thousands of times.
    """
    each = _worth(metric, truth, predicted).reshape(len(truth), -1).mean(axis=1)

    def score(rows: NDArray[np.intp]) -> float:
        mean = float(each[rows].mean())
        return mean**0.5 if metric == "rmse" else mean

    return score


def _worth(metric: str, truth: NDArray[Any], predicted: NDArray[np.float64]) -> NDArray[np.floating]:
    """Of each row, or of each of its steps, what the metric is the mean of; ``rmse`` is the root of one."""
    if metric == "accuracy":
        right: NDArray[np.floating] = np.equal(predicted.argmax(axis=1), truth).astype(np.float64)
        return right
    if metric == "log_loss":
        return surprises(truth.astype(np.int64), predicted)
    error: NDArray[np.floating] = np.abs(truth.astype(np.float64) - predicted)
    return np.square(error) if metric == "rmse" else error

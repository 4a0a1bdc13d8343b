"""The rows that a version's training held out, found again from its data set and recipe, and what a model is worth on them.

Needs the extra ``train``: the job loads this only for versions that were trained here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.core.tensors import Array
from modelyard.datasets.profile import profile_table
from modelyard.datasets.read import read_table
from modelyard.evaluation.metrics import HIGHER_IS_BETTER, classification_metrics, regression_metrics
from modelyard.train.problem import Problem, Task, pose
from modelyard.train.proof import feed
from modelyard.train.recipe import parse_recipe

_CALIBRATION_ROWS = 512
_RESAMPLES = 200
_MOST_ROWS = 20_000
Score = NDArray[np.float64]


class HeldOut:
    """One problem as its training posed it: the same recipe and data split the same rows."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._rows = problem.test[:_MOST_ROWS]
        self.truth = problem.values[self._rows]

    @classmethod
    def read(cls, data: Path, filename: str, recipe: str) -> HeldOut:
        """Raises InvalidData or InvalidRequest when the table cannot be read as it was."""
        wanted = parse_recipe(recipe)
        table = read_table(data, wanted.read_options(), filename)
        return cls(pose(table, profile_table(table), wanted))

    @property
    def inputs(self) -> dict[str, Array]:
        """The held-out rows, as the graph takes them."""
        return feed(self._problem.features.take(self._rows))

    def calibration(self) -> dict[str, Array]:
        """Some of the training rows, the same ones every time."""
        train = self._problem.train
        chosen = np.random.default_rng(self._problem.seed).permutation(len(train))[:_CALIBRATION_ROWS]
        return feed(self._problem.features.take(train[np.sort(chosen)]))

    def check_inputs(self, names: list[str]) -> None:
        """Raises InvalidData when the model does not take the columns that the recipe gives."""
        if sorted(names) != sorted(self._problem.features.names):
            raise InvalidData("The model's inputs are not the columns that its recipe chooses today, so its held-out rows cannot be found.")

    def metrics(self, outputs: dict[str, Array]) -> dict[str, float]:
        """Every measure on the held-out rows."""
        if self._problem.task is Task.REGRESSION:
            return regression_metrics(self.truth.astype(np.float64), outputs["prediction"].reshape(-1).astype(np.float64))
        return classification_metrics(self.truth.astype(np.int64), outputs["probabilities"].astype(np.float64))

    def compare(self, parent: dict[str, Array], child: dict[str, Array]) -> dict[str, Any]:
        """The deciding metric of both and the child's loss, each with the interval that holds 95 % of resampled sets of rows.

        Both are judged on the same resampled rows, so that the interval of the loss is as narrow as it can be.
        """
        metric, every = self._problem.metric, np.arange(len(self.truth))
        random = np.random.default_rng(self._problem.seed)
        drawn = [every, *(random.integers(0, len(every), len(every)) for _ in range(_RESAMPLES))]
        before, after = (np.array([self._score(outputs, rows) for rows in drawn]) for outputs in (parent, child))
        better = HIGHER_IS_BETTER[metric]
        with np.errstate(divide="ignore", invalid="ignore"):
            loss = before - after if better else np.where(before == after, 0.0, (after - before) / before)
        return {"metric": metric, "rows": len(every), "parent": _interval(before), "child": _interval(after), "loss": _interval(loss)}

    def _score(self, outputs: dict[str, Array], rows: NDArray[np.intp]) -> float:
        metric = self._problem.metric
        if self._problem.task is Task.REGRESSION:
            truth, predicted = self.truth[rows].astype(np.float64), outputs["prediction"].reshape(-1)[rows].astype(np.float64)
            return regression_metrics(truth, predicted, [metric]).get(metric, np.nan)
        found = classification_metrics(self.truth[rows].astype(np.int64), outputs["probabilities"][rows].astype(np.float64), [metric])
        return found.get(metric, np.nan)


def _interval(scores: Score) -> dict[str, float]:
    """Of the rows themselves, which come first, and of the resampled ones where the metric can be had."""
    usable = scores[1:][np.isfinite(scores[1:])]
    low, high = np.quantile(usable, [0.025, 0.975]) if len(usable) else (scores[0], scores[0])
    return {"value": float(scores[0]), "low": float(low), "high": float(high)}

"""The rows that a version's training held out, found again from its data set and recipe, and what a model is worth on them.

Needs the extra ``train``: the job loads this only for versions that were trained here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData, InvalidRequest, Unsupported
from modelyard.core.plugins import load_string
from modelyard.core.tensors import Array
from modelyard.datasets.profile import profile_table
from modelyard.datasets.read import read_table
from modelyard.datasets.table import Table
from modelyard.evaluation.details import evaluate_classes, evaluate_numbers
from modelyard.evaluation.metrics import HIGHER_IS_BETTER, classification_metrics, regression_metrics
from modelyard.evaluation.slices import slices
from modelyard.optimize.base import Calibration, Lessons, Outputs, TableRows
from modelyard.train.problem import Problem, Task, pose
from modelyard.train.proof import feed
from modelyard.train.recipes.images import ImageRecipe
from modelyard.train.recipes.parse import parse_recipe
from modelyard.train.recipes.series import SeriesRecipe
from modelyard.train.recipes.table import TableRecipe
from modelyard.train.slicing import slice_metric, slice_score

_CALIBRATION_ROWS = 512
_LESSON_ROWS = 50_000
_RESAMPLES = 200
_MOST_ROWS = 20_000
_DECIDING = ("probabilities", "prediction")
Score = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Rows as their training split them: the same recipe and data split the same rows."""

    task: Task
    metric: str
    """What decides."""
    seed: int
    inputs: dict[str, Array]
    """The held-out rows, as the graph takes them."""
    truth: NDArray[Any]
    training: dict[str, Array]
    """Rows that training saw, in an order of chance that is the same every time; the first of them are looked at."""
    taught: NDArray[Any]
    """The truth of these."""
    classes: tuple[str, ...] = ()
    table: TableRows | None = None
    """All rows that training may see, and those without a right answer."""

    @classmethod
    def read(cls, data: Path, filename: str, recipe: str, scratch: Path) -> HeldOut:
        """``scratch`` is a folder for what does not stay in memory.

        Raises InvalidData or InvalidRequest when the data cannot be read as it was.
        """
        wanted = parse_recipe(recipe)
        if isinstance(wanted, ImageRecipe):
            return cls._of_images(data, filename, wanted, scratch)
        if isinstance(wanted, SeriesRecipe):
            return cls._of_series(data, filename, wanted)
        if isinstance(wanted, TableRecipe):
            return cls._of_table(data, filename, wanted)
        raise InvalidRequest(f"A version of the recipe {wanted.kind!r} is not judged here: this needs rows or images that were held out.")

    @classmethod
    def _of_table(cls, data: Path, filename: str, recipe: TableRecipe) -> HeldOut:
        table = read_table(data, recipe.read_options(), filename)
        problem = pose(table, profile_table(table), recipe)
        rows, some = problem.test[:_MOST_ROWS], _some(problem.train, problem.seed)
        inputs, training = (feed(problem.features.take(part)) for part in (rows, some))
        taught = _table_rows(table, problem, recipe)
        return cls(
            problem.task,
            problem.metric,
            problem.seed,
            inputs,
            problem.values[rows],
            training,
            problem.values[some],
            problem.classes,
            taught,
        )

    @classmethod
    def _of_images(cls, data: Path, filename: str, recipe: ImageRecipe, scratch: Path) -> HeldOut:
        pose_images = _loaded("modelyard.train.networks.image_data:pose_images", "images")
        problem = pose_images(data, filename, recipe, scratch / "pixels.npy", lambda *_: None)
        rows, images = problem.test[:_MOST_ROWS], problem.images
        some = _some(problem.learned, recipe.seed)
        inputs, training = ({"image": np.ascontiguousarray(images.pixels[part])} for part in (rows, some))
        return cls(
            Task.CLASSIFICATION,
            recipe.metric,
            recipe.seed,
            inputs,
            images.labels[rows],
            training,
            images.labels[some],
            tuple(images.classes),
        )

    @classmethod
    def _of_series(cls, data: Path, filename: str, recipe: SeriesRecipe) -> HeldOut:
        problem = _loaded("modelyard.train.networks.series_data:pose_series", "series")(data, filename, recipe)
        starts, some = problem.windows.test[:_MOST_ROWS], _some(problem.windows.train, recipe.seed)
        if problem.forecasts:
            # Only windows of which all is known; a row of the truth holds all steps.
            starts, some = (part[~np.isnan(problem.future(part)).any(axis=(1, 2))] for part in (starts, some))
        if not len(starts) or not len(some):
            raise InvalidData("Every held-out window has a gap in what it should foretell, so children cannot be measured on them.")
        metric = "mae" if recipe.deciding == "mase" else recipe.deciding
        task = Task.CLASSIFICATION if problem.classes else Task.REGRESSION
        truth, taught = (
            problem.future(part).reshape(len(part), -1) if problem.forecasts else problem.labels_of(part) for part in (starts, some)
        )
        inputs, training = (dict(zip(problem.columns, problem.inputs(part), strict=True)) for part in (starts, some))
        return cls(task, metric, recipe.seed, inputs, truth, training, taught, tuple(problem.classes))

    def calibration(self) -> Calibration:
        """Rows to look at while a model is changed."""
        return Calibration({name: array[:_CALIBRATION_ROWS] for name, array in self.training.items()}, self._loss_in_training)

    def lessons(self) -> Lessons:
        """Rows to learn from."""
        return Lessons(self.training, self.taught.astype(np.int64) if self.task is Task.CLASSIFICATION else None, self.table)

    def taking(self, names: list[str]) -> HeldOut:
        """The same with the inputs that a model takes: training may have left columns out.

        Raises InvalidData when it takes others.
        """
        if not set(names) <= set(self.inputs):
            raise InvalidData("The model's inputs are not what its recipe gives today, so its held-out rows cannot be found.")
        inputs, training = ({name: every[name] for name in names} for every in (self.inputs, self.training))
        return replace(self, inputs=inputs, training=training)

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Every measure on the held-out rows."""
        if self.task is Task.REGRESSION:
            return regression_metrics(self.truth.astype(np.float64).reshape(-1), outputs["prediction"].reshape(-1).astype(np.float64))
        return classification_metrics(self.truth.astype(np.int64), outputs["probabilities"].astype(np.float64))

    def evaluation(self, outputs: Outputs) -> dict[str, Any]:
        """Details on the held-out rows, as a training's report has them."""
        predicted = self._predicted(outputs)
        details = (
            evaluate_classes(self.truth, predicted, self.classes, self.seed)
            if self.classes
            else evaluate_numbers(self.truth.reshape(-1), predicted.reshape(-1), self.seed)
        )
        metric = slice_metric(self.task, self.metric)
        columns = {name: array.reshape(-1) for name, array in self.inputs.items() if array.size == len(array)}
        found = slices(
            columns,
            slice_score(metric, self.truth, predicted),
            higher_is_better=HIGHER_IS_BETTER[metric],
            seed=self.seed,
        )
        return details | {"slices": {"metric": metric, "slices": found}}

    def _predicted(self, outputs: Outputs) -> NDArray[np.float64]:
        if self.task is Task.REGRESSION:
            return outputs["prediction"].reshape(self.truth.shape).astype(np.float64)
        return outputs["probabilities"].astype(np.float64)

    def compare(self, parent: Outputs, child: Outputs) -> dict[str, Any]:
        """The deciding metric of both and the child's loss, each with the interval that holds 95 % of resampled sets of rows.

        Both are judged on the same resampled rows, so that the interval of the loss is as narrow as it can be.
        """
        metric, every = self.metric, np.arange(len(self.truth))
        random = np.random.default_rng(self.seed)
        drawn = [every, *(random.integers(0, len(every), len(every)) for _ in range(_RESAMPLES))]
        before, after = (np.array([self._score(outputs, rows) for rows in drawn]) for outputs in (parent, child))
        loss = _lost(metric, before, after)
        return {"metric": metric, "rows": len(every), "parent": _interval(before), "child": _interval(after), "loss": _interval(loss)}

    def _loss_in_training(self, parent: Outputs, child: Outputs) -> float:
        truth = self.taught[:_CALIBRATION_ROWS]
        before, after = (np.array([self._measure(truth, outputs)]) for outputs in (parent, child))
        return float(_lost(self.metric, before, after)[0])

    def _score(self, outputs: Outputs, rows: NDArray[np.intp]) -> float:
        return self._measure(self.truth[rows], {name: outputs[name][rows] for name in _DECIDING if name in outputs})

    def _measure(self, truth: NDArray[Any], outputs: Outputs) -> float:
        metric = self.metric
        if self.task is Task.REGRESSION:
            predicted = outputs["prediction"].reshape(-1).astype(np.float64)
            return regression_metrics(truth.astype(np.float64).reshape(-1), predicted, [metric]).get(metric, np.nan)
        return classification_metrics(truth.astype(np.int64), outputs["probabilities"].astype(np.float64), [metric]).get(metric, np.nan)


def _lost(metric: str, before: Score, after: Score) -> Score:
    """The difference of scores, the relative difference of errors."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return before - after if HIGHER_IS_BETTER[metric] else np.where(before == after, 0.0, (after - before) / before)


def _table_rows(table: Table, problem: Problem, recipe: TableRecipe) -> TableRows:
    """Rows without a target come last: a training leaves them out, and a teacher can say what they are."""
    missing = table.column(recipe.target).missing
    present, unlabelled = np.flatnonzero(~missing), np.flatnonzero(missing)
    rows = np.concatenate([present[problem.train], unlabelled])
    right = np.concatenate([problem.values[problem.train].astype(np.float64), np.full(len(unlabelled), np.nan)])
    return TableRows(table.select(problem.features.names).take(rows), right, problem, recipe.preparation_options())


def _loaded(reference: str, what: str) -> Any:
    try:
        return load_string(reference)
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"Reading {what} needs the Python package {error.name!r}; install it with: pip install 'modelyard[torch]'"
        ) from error


def _some(rows: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    chosen = np.random.default_rng(seed).permutation(len(rows))[:_LESSON_ROWS]
    return rows[chosen]


def _interval(scores: Score) -> dict[str, float]:
    """Of the rows themselves, which come first, and of the resampled ones where the metric can be had."""
    usable = scores[1:][np.isfinite(scores[1:])]
    low, high = np.quantile(usable, [0.025, 0.975]) if len(usable) else (scores[0], scores[0])
    return {"value": float(scores[0]), "low": float(low), "high": float(high)}

"""A series as a network sees it: windows, split in time or by groups, scaled, and a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelyard.core.errors import InvalidData
from modelyard.datasets.read import read_table
from modelyard.datasets.series import Series, read_series
from modelyard.datasets.table import Column, Rows, Table
from modelyard.datasets.windows import WindowPlan, Windows, cut
from modelyard.evaluation.forecasts import ForecastTruth, seasonal_scale
from modelyard.train.networks.objectives import Classes, Objective, Quantities, class_weights
from modelyard.train.networks.series_scaling import WindowScaling
from modelyard.train.problem import OUTPUT_NAMES, read_classes
from modelyard.train.recipes.series import SeriesRecipe

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class SeriesProblem:
    """Windows, and which of them training may see."""

    recipe: SeriesRecipe
    table: Table
    series: Series
    windows: Windows
    columns: tuple[str, ...]
    """What a model takes: targets of a forecast, covariates, known ones."""
    values: Numbers
    """``[rows, columns]``, sorted."""
    labels: NDArray[np.intp] | Numbers | None
    """Of the sorted rows: class numbers or quantities; None for forecasts. A row without one is -1 or NaN."""
    classes: tuple[str, ...]

    @property
    def forecasts(self) -> bool:
        return self.recipe.task == "forecast"

    @property
    def targets(self) -> int:
        """How many of the columns are predicted."""
        return len(self.recipe.target) if self.forecasts else 0

    @property
    def outputs(self) -> int:
        """Numbers that the network gives a window."""
        return self.recipe.horizon * self.targets if self.forecasts else max(1, len(self.classes))

    @property
    def learned_rows(self) -> Rows:
        """Sorted rows that lie in a training window, its horizon included."""
        length = self.recipe.window + self.recipe.ahead
        return np.unique((self.windows.train[:, None] + np.arange(length)).ravel())

    def inputs(self, starts: Rows) -> list[NDArray[np.float32]]:
        """What the model takes for some windows: a column each, ``[windows, rows]``."""
        known = len(self.recipe.known)
        found = []
        for at in range(len(self.columns)):
            length = self.recipe.window + (self.recipe.horizon if at >= len(self.columns) - known else 0)
            found.append(self.values[starts[:, None] + np.arange(length), at].astype(np.float32))
        return found

    def history(self, starts: Rows) -> Numbers:
        """The targets' windows ``[windows, window, targets]``."""
        return self.values[starts[:, None] + np.arange(self.recipe.window), : self.targets]

    def future(self, starts: Rows) -> Numbers:
        """What follows them ``[windows, horizon, targets]``."""
        return self.values[starts[:, None] + self.recipe.window + np.arange(self.recipe.horizon), : self.targets]

    def labels_of(self, starts: Rows) -> NDArray[np.intp] | Numbers:
        if self.labels is None:
            raise TypeError("forecasts have no labels")
        return self.labels[starts + self.recipe.window - 1]

    @cached_property
    def season(self) -> int:
        return self.recipe.season or self.series.season

    def truth(self, starts: Rows) -> ForecastTruth:
        """What forecasts of these windows are measured against. The unit of MASE comes from rows that training saw; for groups that it
        did not see, from the group's own.
        """
        scales = np.ones((len(self.series.names), self.targets))
        learned = self.learned_rows
        for group in np.unique(self.series.group[starts]):
            mine = np.flatnonzero(self.series.group == group)
            seen = mine[np.isin(mine, learned)]
            rows = seen if len(seen) > self.season else mine
            for at in range(self.targets):
                scales[group, at] = seasonal_scale(self.values[rows, at], self.series.segment[rows], self.season)
        owners = self.series.group[starts]
        return ForecastTruth(self.future(starts), scales[owners], owners, -(-self.recipe.horizon // self.recipe.step))

    def class_values(self) -> NDArray[np.generic]:
        """The classes as the model gives them back: words."""
        return np.array(self.classes, dtype=object)


def pose_series(path: Path, name: str, recipe: SeriesRecipe) -> SeriesProblem:
    """Reads, orders, cuts and splits; the same file and recipe give the same windows.

    Raises InvalidData with one sentence for whatever makes it unsolvable.
    """
    table = read_table(path, recipe.read_options(), name)
    series = read_series(table, recipe.time, recipe.groups, recipe.time_format)
    forecasts = recipe.task == "forecast"
    columns = (*(recipe.target if forecasts else ()), *recipe.covariates, *recipe.known)
    values = np.stack([_numbers(table, column) for column in columns], axis=1)[series.rows]
    labels, classes = (None, ()) if forecasts else _labels(table.column(recipe.target[0], "target"), recipe, series)
    usable = _usable(values, labels, recipe, len(recipe.target) if forecasts else 0)
    if not usable.any():
        raise InvalidData(f"No window of {name} has a value to look at and one to predict; shorten window, or fill the gaps.")
    plan = WindowPlan(
        window=recipe.window,
        ahead=recipe.ahead,
        stride=recipe.step,
        split=recipe.split,
        embargo=recipe.gap,
        test_size=recipe.test_size,
        validation_size=recipe.learning.validation_size,
        seed=recipe.seed,
    )
    windows = cut(series, plan, usable, name, _kinds(series, labels) if classes else None)
    problem = SeriesProblem(recipe, table, series, windows, columns, values, labels, classes)
    _check_learnable(problem, name)
    return problem


def scaling_for(problem: SeriesProblem) -> WindowScaling:
    """Learned from training rows alone."""
    recipe, learned = problem.recipe, problem.values[problem.learned_rows]
    scaling = WindowScaling(
        problem.targets,
        recipe.window,
        ahead=recipe.horizon,
        known=len(recipe.known),
        by_window=recipe.scaling == "window",
        marks=bool(np.isnan(learned).any()),
        columns=len(problem.columns),
    )
    scaling.learn(learned, problem.history(problem.windows.train))
    return scaling


class SeriesExamples:
    """Some of the windows, scaled once, for the loop."""

    def __init__(self, problem: SeriesProblem, starts: Rows, scaling: WindowScaling, scale: tuple[float, float] = (0.0, 1.0)) -> None:
        """``scale`` is the mean and deviation of a labelled quantity."""
        with torch.inference_mode():
            steps, ahead, shift, deviation = scaling(*(torch.from_numpy(column) for column in problem.inputs(starts)))
        self._inputs = tuple(part.clone() for part in (steps, ahead) if part is not None)
        if problem.forecasts:
            raw = torch.from_numpy(problem.future(starts)).float()
            self._targets = ((raw - shift[:, None]) / deviation[:, None]).flatten(1).clone()
        else:
            labels = problem.labels_of(starts)
            mean, spread = scale
            self._targets = (
                torch.from_numpy(labels.astype(np.int64))
                if problem.classes
                else torch.from_numpy(((labels - mean) / spread)[:, None]).float()
            )

    @property
    def width(self) -> tuple[int, int]:
        """Columns of a step, and facts known ahead."""
        return self._inputs[0].shape[2], self._inputs[1].shape[1] if len(self._inputs) > 1 else 0

    def __len__(self) -> int:
        return len(self._targets)

    def batch(self, rows: Rows, random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        del random  # a window is never varied
        chosen = torch.from_numpy(rows)
        return tuple(part[chosen] for part in self._inputs), self._targets[chosen]

    def flat(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Everything as one row a window, and the targets, for a linear map."""
        parts = [part.flatten(1).numpy() for part in self._inputs]
        return np.concatenate(parts, axis=1), self._targets.numpy()


def objective_for(problem: SeriesProblem) -> Objective:
    """The loss that the recipe says."""
    recipe = problem.recipe
    if not problem.classes:
        return Quantities(recipe.loss, recipe.delta)
    if recipe.class_weights == "none":
        return Classes()
    counts = np.bincount(problem.labels_of(problem.windows.train).astype(np.intp), minlength=len(problem.classes)).tolist()
    return Classes(class_weights(counts, None))


def _numbers(table: Table, name: str) -> Numbers:
    column = table.column(name)
    if not column.is_number:
        raise InvalidData(f"The column {name!r} of {table.source.name} holds text, and a series is made of numbers. {column.note}".rstrip())
    if name in OUTPUT_NAMES:
        raise InvalidData(f"Column {name!r} has the name of a model output; rename it.")
    if column.missing.all():
        raise InvalidData(f"Column {name!r} of {table.source.name} has no value in any row; fill it in, or leave it out.")
    return column.numbers().astype(np.float64)


def _labels(column: Column, recipe: SeriesRecipe, series: Series) -> tuple[NDArray[np.intp] | Numbers, tuple[str, ...]]:
    if recipe.task == "regression":
        if not column.is_number:
            raise InvalidData(f"The target {column.name!r} holds text, so it is no quantity; set task to classification.")
        return column.numbers().astype(np.float64)[series.rows], ()
    present = np.flatnonzero(~column.missing)
    if not len(present):
        raise InvalidData(f"The target {column.name!r} has no value in any row; choose another or fill it in.")
    codes, classes, _ = read_classes(column.take(present))
    every = np.full(len(column.values), -1, np.intp)
    every[present] = codes
    return every[series.rows], classes


def _kinds(series: Series, labels: NDArray[np.intp] | Numbers | None) -> NDArray[np.intp] | None:
    """The most frequent class of each group."""
    if labels is None:
        return None
    codes = [labels[(series.group == at) & (labels >= 0)].astype(np.intp) for at in range(len(series.names))]
    return np.array([np.bincount(each).argmax() if len(each) else -1 for each in codes], np.intp)


def _usable(values: Numbers, labels: NDArray[np.intp] | Numbers | None, recipe: SeriesRecipe, targets: int) -> NDArray[np.bool_]:
    """By first row: whether the window has something to look at, and something to predict."""
    here = ~np.isnan(values)
    look = np.asarray(here[:, : targets or None].any(axis=1))
    want = look if labels is None else np.asarray(labels >= 0)  # no label is -1 or NaN
    rows, length = len(values), recipe.window + recipe.ahead
    found = np.zeros(rows, np.bool_)
    if rows < length:
        return np.ones(rows, np.bool_)  # what is too short is told by the cut
    starts = np.arange(rows - length + 1)
    looked = _some(look, starts, recipe.window)
    wanted = _some(want, starts + recipe.window, recipe.horizon) if recipe.ahead else want[starts + recipe.window - 1]
    found[starts] = looked & wanted
    return found


def _some(flags: NDArray[np.bool_], starts: Rows, length: int) -> NDArray[np.bool_]:
    counts = np.concatenate([[0], np.cumsum(flags)])
    found: NDArray[np.bool_] = counts[starts + length] > counts[starts]
    return found


def _check_learnable(problem: SeriesProblem, name: str) -> None:
    """Raises InvalidData where every window to learn from wants the same."""
    train = problem.windows.train
    if problem.forecasts:
        for at, column in enumerate(problem.columns[: problem.targets]):
            known = problem.values[problem.learned_rows, at]
            known = known[~np.isnan(known)]
            if len(known) and known.min() == known.max():
                raise InvalidData(f"The target {column!r} is {known[0]:g} in every row to learn from; there is nothing to learn.")
        return
    wanted = problem.labels_of(train)
    if not problem.classes:
        if wanted.min() == wanted.max():
            raise InvalidData(f"The target {problem.recipe.target[0]!r} is {wanted[0]:g} for every window to learn from.")
        return
    for side, starts in (("learn from", train), ("hold out", problem.windows.test)):
        seen = np.unique(problem.labels_of(starts))
        if len(seen) < len(problem.classes) and (side == "learn from" or len(seen) < 2):
            lacking = next(word for code, word in enumerate(problem.classes) if code not in seen)
            raise InvalidData(
                f"No window of {name} to {side} is of the class {lacking!r}: classes come and go over time; set split to groups, "
                "or give more rows of it."
            )

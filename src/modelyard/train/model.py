"""A fitted model of raw columns: preparation, family and the target's scale together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelyard.datasets.prepare import Matrix, Preparation, PreparationOptions, fit_preparation
from modelyard.datasets.table import Rows, Table
from modelyard.train.problem import Problem, Task
from modelyard.train.trainers.base import Fitted, Settings, Shape, Target, Trainer


@dataclass(frozen=True)
class Scale:
    """Between a quantity and what families learn: ``(quantity - mean) / deviation``."""

    mean: float = 0.0
    deviation: float = 1.0

    def down(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = (values.astype(np.float64) - self.mean) / self.deviation
        return scaled

    def up(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        full: NDArray[np.float64] = values.astype(np.float64) * self.deviation + self.mean
        return full


@dataclass(frozen=True)
class PreparedRows:
    """Rows ready for fitting."""

    features: Matrix
    target: Target
    preparation: Preparation
    scale: Scale


@dataclass(frozen=True)
class TrainedModel:
    """What predicts from raw columns."""

    preparation: Preparation
    fitted: Fitted
    scale: Scale
    task: Task

    def predict(self, table: Table, rows: Rows | None = None) -> NDArray[np.float64]:
        """Probabilities ``[rows, classes]``, or quantities ``[rows]``."""
        return self.predict_prepared(self.preparation.transform(table, rows))

    def predict_prepared(self, features: Matrix) -> NDArray[np.float64]:
        """The same from rows that this model's preparation made."""
        found = self.fitted.predict(features)
        return self.scale.up(found) if self.task is Task.REGRESSION else found.astype(np.float64)


def prepare_rows(problem: Problem, options: PreparationOptions, rows: Rows) -> PreparedRows:
    """Learns preparation and scale from these rows, and applies them to the same rows."""
    preparation = fit_preparation(problem.features, options, rows)
    features = preparation.transform(problem.features, rows)
    if problem.task is Task.CLASSIFICATION:
        return PreparedRows(features, problem.values[rows].astype(np.int64), preparation, Scale())
    values = problem.values[rows].astype(np.float64)
    scale = Scale(float(values.mean()), float(values.std()) or 1.0)
    return PreparedRows(features, scale.down(values), preparation, scale)


def shape_of(problem: Problem, rows: int, features: int, threads: int) -> Shape:
    """What families may know of the problem."""
    return Shape(problem.task, rows, features, len(problem.classes), problem.seed, threads)


def fit_model(trainer: Trainer, settings: Settings, shape: Shape, prepared: PreparedRows) -> TrainedModel:
    """Fits one family on prepared rows."""
    fitted = trainer.fit(settings, shape, prepared.features, prepared.target)
    return TrainedModel(prepared.preparation, fitted, prepared.scale, shape.task)

"""Ordinary least squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.linear_model import LinearRegression

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer


class Linear(SklearnTrainer):
    title = "Linear regression"
    tasks = frozenset({Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        del shape
        return [{}]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        del shape
        return LinearRegression(**settings)


TRAINER = Linear()

"""Linear regression with an L2 penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.linear_model import Ridge

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer


class RidgeRegression(SklearnTrainer):
    title = "Ridge regression"
    tasks = frozenset({Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        del shape
        return [{"alpha": alpha} for alpha in (1.0, 10.0, 0.1, 100.0)]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        return Ridge(**settings, random_state=shape.seed)


TRAINER = RidgeRegression()

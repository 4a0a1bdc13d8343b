"""Linear regression with an L1 penalty, which leaves features out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.linear_model import Lasso

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer


class LassoRegression(SklearnTrainer):
    title = "Lasso regression"
    tasks = frozenset({Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        del shape
        return [{"alpha": alpha} for alpha in (0.01, 0.001, 0.1)]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        return Lasso(**settings, max_iter=2000, random_state=shape.seed)


TRAINER = LassoRegression()

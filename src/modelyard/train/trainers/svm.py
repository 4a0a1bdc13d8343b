"""Support vector machines with a radial kernel; for classes, scores become probabilities by Platt's scaling on cross-validated scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import SVC, SVR

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer

_MOST_ROWS = 5_000


class SupportVectors(SklearnTrainer):
    title = "Support vector machine"
    tasks = frozenset({Task.CLASSIFICATION, Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        del shape
        return [{"C": cost} for cost in (1.0, 10.0, 0.1)]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        if shape.task is Task.REGRESSION:
            return SVR(**settings)
        return CalibratedClassifierCV(SVC(**settings), cv=3, ensemble=False)

    def reluctance(self, shape: Shape) -> str:
        return f"its time grows with the square of the rows ({shape.rows:,})" if shape.rows > _MOST_ROWS else ""


TRAINER = SupportVectors()

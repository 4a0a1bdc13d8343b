"""Logistic regression: linear scores, softmax over the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.linear_model import LogisticRegression

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer


class Logistic(SklearnTrainer):
    title = "Logistic regression"
    tasks = frozenset({Task.CLASSIFICATION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        del shape
        return [{"C": strength} for strength in (1.0, 10.0, 0.1)]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        return LogisticRegression(**settings, max_iter=1000, random_state=shape.seed)


TRAINER = Logistic()

"""Gradient boosting over histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer


class Boosting(SklearnTrainer):
    title = "Histogram gradient boosting"
    tasks = frozenset({Task.CLASSIFICATION, Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        if shape.rows < 1000:
            return [
                {"learning_rate": 0.1, "max_iter": 50, "max_leaf_nodes": 8},
                {"learning_rate": 0.05, "max_iter": 100, "max_leaf_nodes": 8},
            ]
        return [
            {"learning_rate": 0.1, "max_iter": 100, "max_leaf_nodes": 31},
            {"learning_rate": 0.05, "max_iter": 200, "max_leaf_nodes": 31, "l2_regularization": 1.0},
            {"learning_rate": 0.1, "max_iter": 100, "max_leaf_nodes": 8},
        ]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        kind = HistGradientBoostingClassifier if shape.task is Task.CLASSIFICATION else HistGradientBoostingRegressor
        return kind(**settings, random_state=shape.seed, early_stopping=False)


TRAINER = Boosting()

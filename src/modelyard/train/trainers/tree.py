"""One decision tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer


class Tree(SklearnTrainer):
    title = "Decision tree"
    tasks = frozenset({Task.CLASSIFICATION, Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        del shape
        return [
            {"max_depth": 6, "min_samples_leaf": 5},
            {"max_depth": None, "min_samples_leaf": 1},
            {"max_depth": 12, "min_samples_leaf": 10},
        ]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        kind = DecisionTreeClassifier if shape.task is Task.CLASSIFICATION else DecisionTreeRegressor
        return kind(**settings, random_state=shape.seed)


TRAINER = Tree()

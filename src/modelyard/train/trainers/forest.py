"""Random forests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer


class Forest(SklearnTrainer):
    title = "Random forest"
    tasks = frozenset({Task.CLASSIFICATION, Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        trees = 50 if shape.rows < 1000 else 100
        # Leaves of large tables hold more rows, which bounds the model's size.
        leaf = max(1, shape.rows // 20_000)
        return [{"n_estimators": trees, "min_samples_leaf": leaf}, {"n_estimators": trees, "min_samples_leaf": 4 * leaf}]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        kind = RandomForestClassifier if shape.task is Task.CLASSIFICATION else RandomForestRegressor
        return kind(**settings, random_state=shape.seed, n_jobs=shape.threads if shape.threads > 1 else None)


TRAINER = Forest()

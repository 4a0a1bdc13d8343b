"""Nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer

_MOST_CELLS = 500_000


class Neighbours(SklearnTrainer):
    title = "k nearest neighbours"
    tasks = frozenset({Task.CLASSIFICATION, Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        return [{"n_neighbors": min(count, max(1, shape.rows // 2))} for count in (5, 15, 3)]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        kind = KNeighborsClassifier if shape.task is Task.CLASSIFICATION else KNeighborsRegressor
        return kind(**settings)

    def reluctance(self, shape: Shape) -> str:
        cells = shape.rows * shape.features
        return f"every answer would search all {cells:,} training values" if cells > _MOST_CELLS else ""


TRAINER = Neighbours()

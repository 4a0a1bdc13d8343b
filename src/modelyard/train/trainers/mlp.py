"""Feed-forward networks (multi-layer perceptrons)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.neural_network import MLPClassifier, MLPRegressor

from modelyard.train.problem import Task
from modelyard.train.trainers.base import Settings, Shape, SklearnTrainer

_SMALL = 2_000


class Network(SklearnTrainer):
    title = "Feed-forward network"
    tasks = frozenset({Task.CLASSIFICATION, Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        if shape.rows < _SMALL:
            return [{"hidden_layer_sizes": [32], "alpha": 1.0}, {"hidden_layer_sizes": [32, 16], "alpha": 0.1}]
        return [{"hidden_layer_sizes": [64], "alpha": 0.001}, {"hidden_layer_sizes": [128, 64], "alpha": 0.001}]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        kind = MLPClassifier if shape.task is Task.CLASSIFICATION else MLPRegressor
        # Small tables fit in one batch, where a quasi-Newton method is both quicker and steadier than Adam.
        small = shape.rows < _SMALL
        steps = (
            {"solver": "lbfgs", "max_iter": 300} if small else {"solver": "adam", "max_iter": 40, "batch_size": 256, "n_iter_no_change": 5}
        )
        return kind(**settings, **steps, random_state=shape.seed)


TRAINER = Network()

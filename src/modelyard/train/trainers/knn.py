"""Nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from modelyard.datasets.prepare import Matrix
from modelyard.train.problem import Task
from modelyard.train.trainers.base import OPSETS, Fitted, Settings, Shape, SklearnFitted, SklearnTrainer, Target

_MOST_CELLS = 500_000


class FittedNeighbours(SklearnFitted):
    """Neighbours with a graph of our own: skl2onnx's goes row by row (20 times slower here) and its bytes differ from run to run."""

    def __init__(self, estimator: Any, shape: Shape, features: Matrix, target: Target) -> None:
        super().__init__(estimator, shape)
        self.features = features
        self.target = target

    def graph(self) -> tuple[ModelProto, str]:
        """Distances in float64 as ``|t|² - 2 x·t`` (``|x|²`` is the same for all neighbours), then the mean over the nearest."""
        known = self.features.astype(np.float64)
        if self.shape.task is Task.CLASSIFICATION:
            answers = np.eye(self.shape.classes, dtype=np.float32)[self.target.astype(np.intp)]
        else:
            answers = self.target.astype(np.float32).reshape(-1, 1)
        constants = {
            "known": np.ascontiguousarray(self.features.T),
            "squares": (known**2).sum(axis=1),
            "minus_two": np.array(-2.0),
            "count": np.array([self.estimator.n_neighbors], np.int64),
            "answers": answers,
            "neighbour_axis": np.array([1], np.int64),
        }
        nodes = [
            helper.make_node("Cast", ["features"], ["wide"], to=TensorProto.DOUBLE),
            helper.make_node("Cast", ["known"], ["wide_known"], to=TensorProto.DOUBLE),
            helper.make_node("MatMul", ["wide", "wide_known"], ["products"]),
            helper.make_node("Mul", ["products", "minus_two"], ["scaled"]),
            helper.make_node("Add", ["scaled", "squares"], ["distances"]),
            helper.make_node("TopK", ["distances", "count"], ["nearest", "places"], axis=1, largest=0),
            helper.make_node("Gather", ["answers", "places"], ["votes"]),
            helper.make_node("ReduceMean", ["votes", "neighbour_axis"], ["scores"], keepdims=0),
        ]
        graph = helper.make_graph(
            nodes,
            "model",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, self.shape.features])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, answers.shape[1]])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        return helper.make_model(graph, opset_imports=opsets), "scores"


class Neighbours(SklearnTrainer):
    title = "k nearest neighbours"
    tasks = frozenset({Task.CLASSIFICATION, Task.REGRESSION})

    def candidates(self, shape: Shape) -> Sequence[Settings]:
        return [{"n_neighbors": min(count, max(1, shape.rows // 2))} for count in (5, 15, 3)]

    def estimator(self, settings: Settings, shape: Shape) -> Any:
        kind = KNeighborsClassifier if shape.task is Task.CLASSIFICATION else KNeighborsRegressor
        return kind(**settings)

    def fit(self, settings: Settings, shape: Shape, features: Matrix, target: Target) -> Fitted:
        estimator = self.estimator(settings, shape)
        estimator.fit(features, target)
        return FittedNeighbours(estimator, shape, features, target)

    def reluctance(self, shape: Shape) -> str:
        cells = shape.rows * shape.features
        return f"every answer would search all {cells:,} training values" if cells > _MOST_CELLS else ""


TRAINER = Neighbours()

"""The seam of model families, and what those of scikit-learn share."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.datasets.prepare import Matrix
from modelyard.train.problem import Task

OPSETS: Mapping[str, int] = {"": 19, "ai.onnx.ml": 3}
"""Operator sets of every trained graph: old enough for widespread runtimes, new enough for all families."""

Settings = Mapping[str, Any]
"""One choice of hyper-parameters."""
Target = NDArray[np.floating] | NDArray[np.integer]
"""Class numbers 0 … classes-1, or quantities scaled to mean 0 and deviation 1."""


@dataclass(frozen=True)
class Shape:
    """What a family may know of the problem before it sees data."""

    task: Task
    rows: int
    features: int
    classes: int
    """0 for regression."""
    seed: int
    threads: int = 1


class Fitted(ABC):
    """A trained model of prepared features."""

    notes: tuple[str, ...] = ()
    """What the owner should know of the fit, e.g. that it did not converge."""

    @abstractmethod
    def predict(self, features: Matrix) -> NDArray[np.floating]:
        """Probabilities ``[rows, classes]``, or quantities ``[rows]`` in the target's scale."""

    @abstractmethod
    def graph(self) -> tuple[ModelProto, str]:
        """The same as ONNX, and the name of the output that ``predict`` gives.

        Its one input is FP32 ``[rows, features]``, its operator sets are ``OPSETS``, and equal fits give equal bytes.
        """


class Trainer(ABC):
    """One model family.

    An implementation is stateless: every call brings all it needs, so one object serves many fits. ``fit`` runs in a job's process,
    takes its randomness from ``shape.seed`` only, starts processes where its settings ask for them only, and raises ValueError,
    ArithmeticError or MemoryError when the data cannot be fitted; the search then reports the family as failed and goes on. Predictions
    must depend on each row alone.
    """

    title: str
    tasks: frozenset[Task]

    @abstractmethod
    def candidates(self, shape: Shape) -> Sequence[Settings]:
        """Hyper-parameters worth trying, the most promising first; never empty."""

    @abstractmethod
    def fit(self, settings: Settings, shape: Shape, features: Matrix, target: Target) -> Fitted:
        """Trains one model."""

    def check(self, settings: Settings, shape: Shape) -> None:
        """Raises InvalidRequest with one sentence for settings from a recipe that cannot be used."""
        del settings, shape

    def reluctance(self, shape: Shape) -> str:
        """Why the family should be tried only when the recipe names it; empty when it suits."""
        del shape
        return ""


class SklearnTrainer(Trainer):
    """A family whose models are scikit-learn estimators that skl2onnx converts."""

    @abstractmethod
    def estimator(self, settings: Settings, shape: Shape) -> Any:
        """A new, unfitted estimator."""

    def check(self, settings: Settings, shape: Shape) -> None:
        known = self.estimator(self.candidates(shape)[0], shape).get_params()
        for name in settings:
            if name not in known:
                raise InvalidRequest(
                    f"The family {self.title!r} has no setting {name!r}.{did_you_mean(name, known)} Settings: {', '.join(sorted(known))}."
                )

    def fit(self, settings: Settings, shape: Shape, features: Matrix, target: Target) -> Fitted:
        estimator = self.estimator(settings, shape)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(features, target)
        notes = sorted({str(warning.message).split("\n")[0][:200] for warning in caught if "onverge" in str(warning.message)})
        return SklearnFitted(estimator, shape, tuple(notes))


@dataclass
class SklearnFitted(Fitted):
    """A fitted estimator."""

    estimator: Any
    shape: Shape
    notes: tuple[str, ...] = field(default=())

    def predict(self, features: Matrix) -> NDArray[np.floating]:
        if self.shape.task is Task.REGRESSION:
            return np.asarray(self.estimator.predict(features), np.float64).reshape(-1)
        found = self.estimator.predict_proba(features)
        seen = self.estimator.classes_
        if len(seen) == self.shape.classes:
            return np.asarray(found, np.float64)
        # A fold may lack a rare class: its probability is 0.
        full = np.zeros((len(found), self.shape.classes))
        full[:, np.asarray(seen, np.intp)] = found
        return full

    def graph(self) -> tuple[ModelProto, str]:
        # Loaded when used: most of what knows this seam fits networks, tries recipes or judges children, and converts nothing.
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        options = {id(self.estimator): {"zipmap": False}} if self.shape.task is Task.CLASSIFICATION else None
        with warnings.catch_warnings():
            # Deprecations between scikit-learn, skl2onnx and protobuf are not the owner's concern; the proof decides.
            warnings.simplefilter("ignore")
            model = to_onnx(
                self.estimator,
                initial_types=[("features", FloatTensorType([None, self.shape.features]))],
                options=options,
                target_opset=dict(OPSETS),
                name="model",
            )
        return model, model.graph.output[-1].name

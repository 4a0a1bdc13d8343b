"""A network that learns from the answers of another model, on rows with and without a right answer, as one graph from raw columns on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from modelyard.core.tensors import Array
from modelyard.datasets.prepare import PreparationOptions, fit_preparation
from modelyard.datasets.split import hold_out
from modelyard.datasets.table import Table
from modelyard.train.graph import build_graph
from modelyard.train.model import Scale, TrainedModel
from modelyard.train.networks.architectures.tables import feedforward
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.imitation import ImitatedClasses, ImitatedNumbers
from modelyard.train.networks.loop import Learner
from modelyard.train.networks.objectives import Objective
from modelyard.train.problem import Problem, Task
from modelyard.train.recipes.student import Student
from modelyard.train.trainers.base import Shape
from modelyard.train.trainers.network import NetworkFitted

FAMILY = "network"
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Taught:
    """Rows with what the teacher says of them."""

    rows: Table
    """The student's columns."""
    teacher: Numbers
    """Probabilities ``[rows, classes]``, in the order of the problem's classes, or quantities ``[rows]``."""
    right: Numbers
    """The right class or quantity; NaN where it is not known."""


def teach(taught: Taught, problem: Problem, student: Student, options: PreparationOptions) -> tuple[ModelProto, dict[str, Any]]:
    """The student as a graph, and how it learned. The problem says what is predicted; its held-out rows are not looked at."""
    classes = len(problem.classes)
    preparation = fit_preparation(taught.rows, options)
    features = preparation.transform(taught.rows)
    known = ~np.isnan(taught.right)
    scale = Scale() if classes else Scale(float(taught.teacher.mean()), float(taught.teacher.std()) or 1.0)
    targets, objective = _targets(taught, scale, student, classes)
    groups = taught.teacher.argmax(axis=1) if classes else None
    learn, validate = hold_out(len(features), student.learning.validation_size, problem.seed, groups)
    torch.manual_seed(problem.seed)
    module = feedforward(features.shape[1], list(student.hidden), classes or 1, student.dropout)
    learner = Learner(module, objective, student.learning, choose_device(student.learning.precision), None, seed=problem.seed)
    examples = [_Rows(features[part], targets[part]) for part in (learn, validate)]
    fit = learner.fit(examples[0], examples[1], lambda *_: None)
    shape = Shape(problem.task, len(features), features.shape[1], classes, problem.seed)
    fitted = NetworkFitted(learner.module.to("cpu").eval(), shape, binary=False)
    model = TrainedModel(preparation, fitted, scale, problem.task)
    graph = build_graph(model, problem, FAMILY, [_doc(taught.rows, name) for name in taught.rows.names])
    last = fit.history[fit.best_epoch - 1]
    return graph, {
        "student": {"hidden": list(student.hidden), "weights": sum(weight.numel() for weight in module.parameters())},
        "temperature": student.temperature,
        "mixing": student.mixing,
        "rows": {"labelled": int(known.sum()), "unlabelled": int((~known).sum())},
        "epochs": len(fit.history),
        "best_epoch": fit.best_epoch,
        objective.score_name + "_with_teacher": last[f"validation_{objective.score_name}"],
        "history": fit.history,
    }


def answers_for(problem: Problem, outputs: Mapping[str, Array], classes: tuple[str, ...]) -> Numbers:
    """What a teacher says, in the problem's terms: probabilities of its classes, or quantities.

    ``classes`` are the teacher's, for its probabilities; a teacher that gives labels alone is as sure as can be. Raises ValueError for a
    teacher whose outputs are neither.
    """
    if problem.task is Task.REGRESSION:
        for values in outputs.values():
            if values.dtype.kind == "f" and values.size == len(values):
                return values.reshape(-1).astype(np.float64)
        raise ValueError("it gives no quantity a row")
    for values in outputs.values():
        if values.dtype.kind == "f" and values.ndim == 2 and values.shape[1] == len(classes) > 1:
            return _in_order(values.astype(np.float64), classes, problem.classes)
    for values in outputs.values():
        if values.dtype.kind in "iuOU" and values.size == len(values):
            return _one_hot([str(value) for value in values.reshape(-1).tolist()], problem.classes)
    raise ValueError("it gives neither probabilities of its classes nor a label a row")


def _in_order(values: Numbers, given: tuple[str, ...], wanted: tuple[str, ...]) -> Numbers:
    if missing := [name for name in wanted if name not in given]:
        raise ValueError(f"it does not know the class {missing[0]!r}")
    return values[:, [given.index(name) for name in wanted]]


def _one_hot(labels: list[str], classes: tuple[str, ...]) -> Numbers:
    place = {name: at for at, name in enumerate(classes)}
    if strange := [label for label in labels if label not in place]:
        raise ValueError(f"it answers {strange[0]!r}, which is none of the classes")
    return np.eye(len(classes))[[place[label] for label in labels]]


def _targets(taught: Taught, scale: Scale, student: Student, classes: int) -> tuple[NDArray[np.float32], Objective]:
    if classes:
        right = np.where(np.isnan(taught.right), -1.0, taught.right)
        both = np.concatenate([taught.teacher, right[:, None]], axis=1).astype(np.float32)
        return both, ImitatedClasses(student.temperature, student.mixing)
    pair = np.stack([scale.down(taught.teacher), scale.down(taught.right)], axis=1).astype(np.float32)
    return pair, ImitatedNumbers(student.mixing)


class _Rows:
    """Prepared rows, for the loop."""

    def __init__(self, features: NDArray[np.float32], targets: NDArray[np.float32]) -> None:
        self._features, self._targets = torch.from_numpy(features), torch.from_numpy(targets)

    def __len__(self) -> int:
        return len(self._targets)

    def batch(self, rows: NDArray[np.intp], random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        del random
        chosen = torch.from_numpy(rows)
        return (self._features[chosen],), self._targets[chosen]


def _doc(table: Table, name: str) -> dict[str, Any]:
    number = table.column(name).is_number
    return {"name": name, "kind": "number" if number else "category", "datatype": "FP32" if number else "BYTES"}

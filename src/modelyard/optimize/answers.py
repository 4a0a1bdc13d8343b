"""What a model's outputs say of right answers, whatever its maker called them: probabilities of classes, one class, or a quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData, InvalidRequest, did_you_mean
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array, Datatype
from modelyard.optimize.base import Outputs
from modelyard.train.problem import Task
from modelyard.train.recipes.table import CLASSIFICATION_METRICS, REGRESSION_METRICS

_OF_PROBABILITIES = frozenset({"roc_auc", "log_loss"})
_NEAR_ONE = 0.01
Labels = NDArray[Any]
"""float64, or an object array of ``str``."""


@dataclass(frozen=True)
class Reading:
    """How the outputs of a model, and of its children, are read."""

    task: Task
    metric: str
    """What decides."""
    output: str
    """The output that is read; the others are compared, and not judged."""
    classes: tuple[str, ...] = ()
    scores: bool = False
    """Whether classes have any numbers, of which the exponentials count, instead of probabilities."""
    single: bool = False
    """Whether there is one number a row, about the second of two classes."""
    named: bool = False
    """Whether the output is the class itself."""

    def read(self, outputs: Outputs) -> dict[str, Array]:
        """As versions that were trained here answer."""
        found = outputs[self.output]
        if self.task is Task.REGRESSION:
            return {"prediction": found.reshape(-1).astype(np.float64)}
        if self.named:
            return {"probabilities": (_texts(found)[:, None] == np.array(self.classes, object)).astype(np.float64)}
        values = found.reshape(len(found), -1).astype(np.float64)
        if self.single:
            second = 1 / (1 + np.exp(-values)) if self.scores else values
            return {"probabilities": np.hstack([1 - second, second])}
        if self.scores:
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        return {"probabilities": values}

    def measures(self, found: dict[str, float]) -> dict[str, float]:
        """Without what one class a row cannot tell."""
        return {name: value for name, value in found.items() if not (self.named and name in _OF_PROBABILITIES)}

    def truth(self, labels: Labels) -> NDArray[Any]:
        """Right answers as this task has them: class numbers, or quantities. Raises InvalidData for a class that there is not."""
        if self.task is Task.REGRESSION:
            return labels.astype(np.float64)
        places = {name: at for at, name in enumerate(self.classes)}
        texts = _texts(labels)
        for text in texts:
            if text not in places:
                raise InvalidData(
                    f"The label {text!r} is none of the model's classes.{did_you_mean(text, self.classes)} {_told(self.classes)}"
                )
        return np.array([places[text] for text in texts], np.intp)


def reading_of(signature: Signature, answers: Outputs, labels: Labels, metric: str = "") -> Reading:
    """``answers`` are the model's for the labelled rows.

    Raises InvalidRequest for a metric that there is not or that does not fit, InvalidData for labels that do not.
    """
    if metric and metric not in {*CLASSIFICATION_METRICS, *REGRESSION_METRICS}:
        known = [*CLASSIFICATION_METRICS, *REGRESSION_METRICS]
        raise InvalidRequest(f"There is no metric {metric!r}.{did_you_mean(metric, known)} Known: {', '.join(known)}.")
    spec = _deciding(signature, answers)
    values = answers[spec.name]
    width = values.size // max(1, len(values))
    quantity = metric in REGRESSION_METRICS if metric else _quantities(values, width, labels)
    if quantity:
        return _of_quantities(spec, width, labels, metric or "rmse")
    if width == 1 and values.dtype.kind == "f":
        classes = _classes(signature, 2, labels)
        scores = bool(values.min() < 0 or values.max() > 1)
        return Reading(Task.CLASSIFICATION, metric or "f1_macro", spec.name, classes, scores, single=True)
    if width == 1:
        if metric in _OF_PROBABILITIES:
            raise InvalidRequest(
                f"The metric {metric!r} needs probabilities, and {spec.name!r} tells one class a row; use accuracy or f1_macro."
            )
        classes = signature.classes or tuple(np.unique(np.concatenate([_texts(values), _texts(labels)])))
        return Reading(Task.CLASSIFICATION, metric or "f1_macro", spec.name, classes, named=True)
    sums = values.reshape(len(values), -1).sum(axis=1)
    scores = bool(values.min() < 0 or np.abs(sums - 1).max() > _NEAR_ONE)
    return Reading(Task.CLASSIFICATION, metric or "f1_macro", spec.name, _classes(signature, width, labels), scores)


def _deciding(signature: Signature, answers: Outputs) -> TensorSpec:
    """The output with a number for each class where there is one, else the first with one answer a row."""
    rows = [spec for spec in signature.outputs if answers[spec.name].size and answers[spec.name].ndim in {1, 2}]
    wide = [spec for spec in rows if spec.datatype.is_float and answers[spec.name].size > len(answers[spec.name])]
    single = [spec for spec in rows if answers[spec.name].size == len(answers[spec.name])]
    found = [spec for spec in wide if spec.name in {"probabilities", "probs"}] or wide or single
    if not found:
        told = ", ".join(f"{spec.name} ({spec.datatype} {spec.wire_shape})" for spec in signature.outputs)
        raise InvalidData(
            f"The model's answers cannot be compared with labels: none of its outputs has a row of numbers or one class ({told})."
        )
    return found[0]


def _quantities(values: Array, width: int, labels: Labels) -> bool:
    """Two different labels are classes, whatever they are."""
    return width == 1 and values.dtype.kind == "f" and labels.dtype != object and len(np.unique(labels)) > 2


def _of_quantities(spec: TensorSpec, width: int, labels: Labels, metric: str) -> Reading:
    if width != 1:
        raise InvalidData(f"The labels are quantities, and the model's output {spec.name!r} has {width} numbers a row.")
    if labels.dtype == object or spec.datatype is Datatype.BYTES:
        raise InvalidData(f"The metric {metric!r} measures quantities, and the labels or the model's output {spec.name!r} are texts.")
    return Reading(Task.REGRESSION, metric, spec.name)


def _classes(signature: Signature, width: int, labels: Labels) -> tuple[str, ...]:
    """The model's own names, or what the labels say: whole numbers are places, texts stand in the order of the alphabet."""
    if len(signature.classes) == width:
        return signature.classes
    if labels.dtype != object:
        wrong = labels[(labels != np.floor(labels)) | (labels < 0) | (labels >= width)]
        if len(wrong):
            told = f"labels are whole numbers from 0 to {width - 1}; one is {wrong[0]:g}"
            raise InvalidData(f"The model tells {width} classes apart, so {told}.")
        return tuple(str(at) for at in range(width))
    found = tuple(np.unique(_texts(labels)))
    if len(found) != width:
        raise InvalidData(
            f"The model tells {width} classes apart without naming them, and the labels are {len(found)} different texts; give the "
            "numbers of the classes, or write their names into the model's metadata 'modelyard.classes'."
        )
    return found


def _texts(values: Array) -> NDArray[np.object_]:
    """Class names of labels, or of a model's answers."""
    flat = values.reshape(-1)
    if flat.dtype.kind == "f":
        return np.array([str(int(value)) if value == int(value) else f"{value:.12g}" for value in flat], object)
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in flat.tolist()], object)


def _told(classes: Sequence[str]) -> str:
    return f"Classes: {', '.join(classes[:20])}{' …' if len(classes) > 20 else ''}."

"""Knowledge distillation: a network learns what the version answers, and takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnx import ModelProto

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.core.plugins import load_extra
from modelyard.optimize.base import Work

_NUMBERS = ("temperature", "mixing", "dropout", "epochs", "rate")
_EXAMPLE = "distill:64-32,temperature=3,mixing=0.7,epochs=60"


@dataclass(frozen=True)
class Distill:
    exact: ClassVar[bool] = False
    student: Mapping[str, Any]
    """Fields of ``train.recipes.student.Student`` that are not left to their defaults."""

    def supports(self, work: Work) -> str:
        if work.lessons is None or work.lessons.table is None:
            return "a student learns from the rows of a table, and the version was not trained on one here"
        return ""

    def run(self, work: Work) -> ModelProto:
        distill: Any = load_extra("modelyard.optimize.distillation:distill", "train,torch", "Distillation")
        made: ModelProto = distill(work, dict(self.student))
        return made


def read(argument: str) -> Distill:
    first, *others = argument.split(",")
    student: dict[str, Any] = {}
    if first and "=" not in first:
        sizes = first.split("-")
        if not all(size.isdecimal() and int(size) for size in sizes):
            raise InvalidRequest(f"The pass 'distill' takes the units of hidden layers first, like {_EXAMPLE}; it got {first!r}.")
        student["hidden"] = [int(size) for size in sizes]
    elif first:
        others = [first, *others]
    for part in others:
        name, _, value = part.partition("=")
        if name not in _NUMBERS:
            raise InvalidRequest(f"The pass 'distill' has no option {name!r}.{did_you_mean(name, _NUMBERS)} Write it like {_EXAMPLE}.")
        try:
            number = float(value)
        except ValueError:
            raise InvalidRequest(f"The option {name!r} of the pass 'distill' is a number, like {_EXAMPLE}; it got {value!r}.") from None
        _put(student, name, number)
    return Distill(student)


def _put(student: dict[str, Any], name: str, number: float) -> None:
    learning = student.setdefault("learning", {}) if name in {"epochs", "rate"} else student
    if name == "epochs":
        learning["epochs"] = int(number) if number == int(number) else number
    elif name == "rate":
        learning["optimizer"] = {"learning_rate": number}
    else:
        learning[name] = number

"""The seam of a pass: model in, model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.core.tensors import Array

Outputs = Mapping[str, Array]
Loss = Callable[[Outputs, Outputs], float]
"""(what the parent answers, what a child answers) → the quality that is lost, as ``spec.Tolerance`` counts it."""


@dataclass(frozen=True)
class Calibration:
    """Inputs to look at while a model is changed: rows that training saw, never rows that the result is judged on."""

    inputs: Mapping[str, Array]
    loss: Loss | None = None
    """Measured on these rows; nothing where their right answers are not known."""

    @property
    def rows(self) -> int:
        return min((len(array) for array in self.inputs.values()), default=0)


@dataclass(frozen=True)
class TableRows:
    """Rows of a table to learn from, as training reads them, with and without a right answer."""

    table: Any
    """``datasets.table.Table``."""
    right: NDArray[np.float64]
    """The right class or quantity; NaN where it is not known."""
    problem: Any
    """``train.problem.Problem``: what is predicted."""
    preparation: Any
    """``datasets.prepare.PreparationOptions`` of the version's own recipe."""


@dataclass(frozen=True)
class Lessons:
    """Rows to learn from: those that training saw."""

    inputs: Mapping[str, Array]
    labels: NDArray[np.int64] | None = None
    """The right classes, as places among the probabilities; nothing for quantities, which are learned from the parent's answers."""
    table: TableRows | None = None
    """The same and more, where they are a table's."""

    @property
    def rows(self) -> int:
        return min((len(array) for array in self.inputs.values()), default=0)


@dataclass(frozen=True)
class Work:
    """What a pass is given. It changes none of it but the notes."""

    model: ModelProto
    calibration: Calibration | None = None
    lessons: Lessons | None = None
    origin: ModelProto | None = None
    """The version that all children are compared with, where it is another model; what a child is to answer like."""
    tolerance: float = 0.01
    """The quality that a child may lose."""
    student: Mapping[str, Any] = field(default_factory=dict)
    """The student's recipe, for passes that train one."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What a pass has to say; it goes into the child's report."""


class Pass(Protocol):
    """One optimization of an ONNX graph with its settings. Stateless otherwise, and safe to use again.

    ``supports`` is asked before ``run``, with the same work. A pass keeps the names, types and shapes of inputs and outputs.
    """

    exact: ClassVar[bool]
    """Whether answers stay the same but for rounding: what is not needs held-out rows to be trusted."""

    def supports(self, work: Work) -> str:
        """Why this model cannot take the pass; empty when it can."""

    def run(self, work: Work) -> ModelProto:
        """The optimized model, a new one."""


Reader = Callable[[str], Pass]
"""Makes a pass of what stands behind the colon of ``NAME:ARGUMENT`` (empty where nothing does). Raises InvalidRequest with one sentence."""


def number_between(name: str, argument: str, low: float, high: float, example: str) -> float:
    """The number that ``argument`` is, above ``low`` and below ``high``.

    Raises InvalidRequest.
    """
    try:
        value = float(argument)
    except ValueError:
        value = low
    if not low < value < high:
        raise InvalidRequest(f"The pass {name!r} needs a number above {low:g} and below {high:g}, like {example}; it got {argument!r}.")
    return value


def options_of(name: str, parts: list[str], known: Mapping[str, int]) -> dict[str, int]:
    """The options ``NAME`` or ``NAME=WHOLE NUMBER`` behind a pass's first argument; ``known`` has what each is without a number.

    Raises InvalidRequest.
    """
    found: dict[str, int] = {}
    for part in parts:
        option, given, number = part.partition("=")
        if option not in known:
            raise InvalidRequest(
                f"The pass {name!r} has no option {option!r}.{did_you_mean(option, list(known))} Options: {', '.join(known)}."
            )
        if given and not (number.isdecimal() and 0 < int(number) <= 10_000):
            raise InvalidRequest(f"The option {option!r} of the pass {name!r} is a whole number from 1 to 10000, like {option}=3.")
        found[option] = int(number) if given else known[option]
    return found


def check_no_argument(name: str, argument: str) -> None:
    """Raises InvalidRequest where a pass that takes no argument got one."""
    if argument:
        raise InvalidRequest(f"The pass {name!r} takes no argument; write it without ':{argument}'.")

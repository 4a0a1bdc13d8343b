"""The seam of a pass: model in, model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from onnx import ModelProto

from modelyard.core.errors import InvalidRequest
from modelyard.core.tensors import Array


@dataclass(frozen=True)
class Calibration:
    """Inputs to look at while a model is changed: rows that training saw, never rows that the result is judged on."""

    inputs: Mapping[str, Array]

    @property
    def rows(self) -> int:
        return min((len(array) for array in self.inputs.values()), default=0)


@dataclass(frozen=True)
class Work:
    """What a pass is given. It changes neither."""

    model: ModelProto
    calibration: Calibration | None = None


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


def check_no_argument(name: str, argument: str) -> None:
    """Raises InvalidRequest where a pass that takes no argument got one."""
    if argument:
        raise InvalidRequest(f"The pass {name!r} takes no argument; write it without ':{argument}'.")

"""Weights learned anew, after other passes have taken some away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnx import ModelProto

from modelyard.core.errors import InvalidRequest
from modelyard.optimize.base import Work
from modelyard.optimize.finetuning import Finetuning

_EPOCHS = 5
_MOST_EPOCHS = 10_000


@dataclass(frozen=True)
class Finetune:
    exact: ClassVar[bool] = False
    finetuning: Finetuning

    def supports(self, work: Work) -> str:
        return self.finetuning.supports(work)

    def run(self, work: Work) -> ModelProto:
        return self.finetuning.run(work, work.model)


def read(argument: str) -> Finetune:
    if argument and not (argument.isdecimal() and 0 < int(argument) <= _MOST_EPOCHS):
        raise InvalidRequest(f"The pass 'finetune' takes a number of epochs, like finetune:5; it got {argument!r}.")
    return Finetune(Finetuning(int(argument) if argument else _EPOCHS))

"""Graph optimization ahead of time: for any runtime, for ONNX Runtime on any machine, or for machines like this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnx import ModelProto

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.optimize.ahead import Target, optimized
from modelyard.optimize.base import Work

_TARGETS = {"": Target.ANYTHING, "runtime": Target.RUNTIME, "machine": Target.MACHINE}


@dataclass(frozen=True)
class Graph:
    exact: ClassVar[bool] = True
    target: Target

    def supports(self, work: Work) -> str:
        return "" if work.model.graph.node else "it has no operators"

    def run(self, work: Work) -> ModelProto:
        return optimized(work.model, self.target)


def read(argument: str) -> Graph:
    if argument not in _TARGETS:
        hint = did_you_mean(argument, list(_TARGETS)[1:])
        raise InvalidRequest(f"The pass 'graph' is graph, graph:runtime or graph:machine, not 'graph:{argument}'.{hint}")
    return Graph(_TARGETS[argument])

"""Structured pruning: hidden channels leave the graph, so that matrices are smaller and calls faster on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from modelyard.optimize.base import Work, number_between
from modelyard.optimize.channels import Group, groups, remove
from modelyard.optimize.weights import why_no_weights


@dataclass(frozen=True)
class Channels:
    exact: ClassVar[bool] = False
    share: float
    """Of each layer's channels, how many go; one always stays."""

    def supports(self, work: Work) -> str:
        if reason := why_no_weights(work.model):
            return reason
        if not groups(work.model.graph):
            return "no layer has channels that only layers with constant weights read (what is added to another layer's answer must stay)"
        return ""

    def run(self, work: Work) -> ModelProto:
        return remove(work.model, self._kept)

    def _kept(self, group: Group, importance: NDArray[np.float64]) -> NDArray[np.intp]:
        """The most important, in their old order; of equals the earlier ones."""
        stay = group.count - min(int(self.share * group.count), group.count - 1)
        return np.sort(np.argsort(-importance, kind="stable")[:stay])


def read(argument: str) -> Channels:
    return Channels(number_between("channels", argument, 0.0, 1.0, "channels:0.5"))

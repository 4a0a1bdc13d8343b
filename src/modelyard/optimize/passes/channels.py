"""Structured pruning: hidden channels leave the graph, so that matrices are smaller and calls faster on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from modelyard.optimize.base import Work, number_between, options_of
from modelyard.optimize.channels import Group, groups, remove
from modelyard.optimize.finetuning import Finetuning
from modelyard.optimize.weights import why_no_weights


@dataclass(frozen=True)
class Channels:
    exact: ClassVar[bool] = False
    share: float
    """Of each layer's channels, how many go; one always stays."""
    finetuning: Finetuning | None = None
    """Afterwards."""

    def supports(self, work: Work) -> str:
        if reason := why_no_weights(work.model):
            return reason
        if not groups(work.model.graph):
            return "no layer has channels that only layers with constant weights read (what is added to another layer's answer must stay)"
        return self.finetuning.supports(work) if self.finetuning else ""

    def run(self, work: Work) -> ModelProto:
        made = remove(work.model, self._kept)
        return self.finetuning.run(work, made) if self.finetuning else made

    def _kept(self, group: Group, importance: NDArray[np.float64]) -> NDArray[np.intp]:
        """The most important, in their old order; of equals the earlier ones."""
        stay = group.count - min(int(self.share * group.count), group.count - 1)
        return np.sort(np.argsort(-importance, kind="stable")[:stay])


def read(argument: str) -> Channels:
    share, *parts = argument.split(",")
    options = options_of("channels", parts, {"finetune": 5})
    finetuning = Finetuning(options["finetune"]) if options else None
    return Channels(number_between("channels", share, 0.0, 1.0, "channels:0.5"), finetuning)

"""Magnitude pruning: the weights nearest to zero become zero, at once or in steps with fine-tuning in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from onnx import ModelProto, numpy_helper

from modelyard.core.errors import InvalidRequest
from modelyard.optimize.base import Work, options_of
from modelyard.optimize.finetuning import Finetuning
from modelyard.optimize.sparsity import NAME, Sparsity, read_sparsity, zeroed
from modelyard.optimize.weights import layers, weight_tensors, why_no_weights, with_weights

_OPTIONS = {"each": 1, "finetune": 3, "steps": 4}


@dataclass(frozen=True)
class Prune:
    exact: ClassVar[bool] = False
    sparsity: Sparsity
    finetuning: Finetuning | None = None
    """After each step."""
    steps: int = 1

    def supports(self, work: Work) -> str:
        reason = why_no_weights(work.model)
        return reason or (self.finetuning.supports(work) if self.finetuning else "")

    def run(self, work: Work) -> ModelProto:
        model = work.model
        for step in range(1, self.steps + 1):
            # Much at first, while there is much to spare, and little at the end (Zhu and Gupta, To prune, or not to prune, 2017).
            model = self._pruned(model, 1 - (1 - step / self.steps) ** 3)
            if self.finetuning:
                model = self.finetuning.run(work, model, step)
        left = {tensor.name: int(np.count_nonzero(numpy_helper.to_array(tensor))) for tensor in weight_tensors(model.graph)}
        everything = sum(int(np.prod(tensor.dims)) for tensor in weight_tensors(model.graph))
        work.notes["weights"] = {"all": everything, "not_zero": sum(left.values()), "layers": left}
        return model

    def _pruned(self, model: ModelProto, progress: float) -> ModelProto:
        axes = [layer.output_axis for layer in layers(model.graph)]
        return with_weights(model, lambda weights: zeroed(weights, self.sparsity.kept(weights, axes, progress)))


def read(argument: str) -> Prune:
    amount, *parts = argument.split(",")
    options = options_of(NAME, parts, _OPTIONS)
    sparsity = read_sparsity(amount, each=bool(options.get("each")))
    if "each" in options and sparsity.pattern[1]:
        raise InvalidRequest("N of every M weights are kept in each layer anyway; write prune:2:4 without 'each'.")
    if "steps" in options and "finetune" not in options:
        raise InvalidRequest(
            "Pruning in steps without fine-tuning between them is the same as at once; write prune:0.8,steps=4,finetune=3."
        )
    if "steps" in options and sparsity.pattern[1]:
        raise InvalidRequest("N of every M weights are kept at once; write prune:2:4,finetune=3 without 'steps'.")
    return Prune(sparsity, Finetuning(options["finetune"]) if "finetune" in options else None, options.get("steps", 1))

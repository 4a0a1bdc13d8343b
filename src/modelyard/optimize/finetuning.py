"""Learning weights anew after something was taken away from a graph. PyTorch is loaded when it begins, not before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from modelyard.core.plugins import load_extra
from modelyard.optimize.base import Work
from modelyard.optimize.finetune.region import why_not

_FEWEST_ROWS = 32


@dataclass(frozen=True)
class Finetuning:
    """What is zero stays zero; inputs, outputs and operators stay as they are."""

    epochs: int
    """Passes over the training rows."""

    def supports(self, work: Work) -> str:
        """Why a model cannot be learned anew; empty when it can."""
        if work.lessons is None:
            return "fine-tuning needs training rows to learn from, and the version's data set is not known"
        if work.lessons.rows < _FEWEST_ROWS:
            return f"fine-tuning needs at least {_FEWEST_ROWS} training rows, and there are {work.lessons.rows}"
        return why_not(work.model)

    def run(self, work: Work, model: ModelProto, step: int = 1) -> ModelProto:
        """Learns from the answers of the version that all children are compared with, and from the right ones.

        ``step`` counts how often it is done within a pass, for the notes. Raises Unsupported without PyTorch.
        """
        finetune: Any = load_extra("modelyard.optimize.finetune.learn:finetune", "torch", "Fine-tuning")
        tuned, facts = finetune(model, work, self.epochs)
        work.notes.setdefault("finetuning", []).append({"step": step, "epochs": self.epochs} | facts)
        made: ModelProto = tuned
        return made

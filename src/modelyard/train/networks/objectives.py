"""What a network is taught to do: a loss for each row, and a score that people understand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Objective(Protocol):
    """A loss. Losses are a value a row, so that a batch in parts, or on several processes, gives what it gives as a whole."""

    @property
    def score_name(self) -> str: ...

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """``[rows]``."""

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """The sum over the rows of what ``score_name`` is the mean of."""


@dataclass(frozen=True)
class Classes:
    """Cross-entropy over classes; the outputs are a score a class."""

    weights: Tensor | None = None
    """For each class, with a mean of 1 over the training rows."""
    smoothing: float = 0.0
    score_name: str = "accuracy"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = None if self.weights is None else self.weights.to(outputs.device)
        return functional.cross_entropy(outputs.float(), targets, weights, reduction="none", label_smoothing=self.smoothing)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return float((outputs.argmax(dim=1) == targets).sum())


@dataclass(frozen=True)
class Binary:
    """Cross-entropy of two classes with one score: that of the second."""

    weights: Tensor | None = None
    score_name: str = "accuracy"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found = functional.binary_cross_entropy_with_logits(outputs[:, 0].float(), targets.float(), reduction="none")
        return found if self.weights is None else found * self.weights.to(outputs.device)[targets]

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return float(((outputs[:, 0] > 0).long() == targets).sum())


@dataclass(frozen=True)
class Quantity:
    """Squared, absolute or Huber error of a scaled quantity."""

    kind: str = "mse"
    delta: float = 1.0
    score_name: str = "mae"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found = outputs[:, 0].float()
        if self.kind == "huber":
            return functional.huber_loss(found, targets, reduction="none", delta=self.delta)
        return (
            functional.l1_loss(found, targets, reduction="none")
            if self.kind == "mae"
            else functional.mse_loss(found, targets, reduction="none")
        )

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return float((outputs[:, 0].float() - targets).abs().sum())


@dataclass(frozen=True)
class Quantities:
    """The same of several quantities a row, of which those that are NaN do not count."""

    kind: str = "huber"
    delta: float = 1.0
    score_name: str = "mae"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        known = ~targets.isnan()
        found, wanted = outputs.float(), torch.where(known, targets, 0.0)
        if self.kind == "huber":
            each = functional.huber_loss(found, wanted, reduction="none", delta=self.delta)
        else:
            each = (functional.l1_loss if self.kind == "mae" else functional.mse_loss)(found, wanted, reduction="none")
        return torch.where(known, each, 0.0).sum(dim=1) / known.sum(dim=1).clamp(min=1)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        known = ~targets.isnan()
        error = torch.where(known, (outputs.float() - torch.where(known, targets, 0.0)).abs(), 0.0)
        return float((error.sum(dim=1) / known.sum(dim=1).clamp(min=1)).sum())


def class_weights(counts: Sequence[int], chosen: Sequence[float] | None) -> Tensor:
    """Weights of the classes such that a row weighs 1 in the mean: as chosen, or equal shares for all classes."""
    seen = torch.tensor(counts, dtype=torch.float64)
    weights = seen.sum() / seen.clamp(min=1) if chosen is None else torch.tensor(chosen, dtype=torch.float64)
    return (weights * seen.sum() / (weights * seen).sum()).float()

"""What a network is taught when it learns from the answers of another model, and from right ones where they are known.

Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 1e-7
"""The smallest probability of a teacher: a forest says 0 of what it has never seen, whose logarithm nobody can learn."""


@dataclass(frozen=True)
class ImitatedClasses:
    """Targets are ``[rows, classes + 1]``: the teacher's probabilities, and the right class, or -1 where it is not known."""

    temperature: float = 1.0
    """Above 1 it is softer what the teacher says, so that its second and third thoughts count more."""
    mixing: float = 0.5
    """How much the teacher counts; the rest is what the right class counts."""
    score_name: str = "agreement"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        teacher, right = targets[:, :-1], targets[:, -1].long()
        wanted = torch.softmax(teacher.clamp(min=SMALLEST).log() / self.temperature, dim=1)
        scores = outputs.float()
        given = torch.log_softmax(scores / self.temperature, dim=1)
        # The square keeps the gradients of both parts of one size, whatever the temperature.
        soft = functional.kl_div(given, wanted, reduction="none").sum(dim=1) * self.temperature**2
        hard = functional.cross_entropy(scores, right, ignore_index=-1, reduction="none")
        mixing = torch.where(right >= 0, self.mixing, 1.0)
        return mixing * soft + (1 - mixing) * hard

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Rows with the teacher's own choice."""
        return float((outputs.argmax(dim=1) == targets[:, :-1].argmax(dim=1)).sum())


@dataclass(frozen=True)
class ImitatedNumbers:
    """Targets are ``[rows, 2 × numbers]``: the teacher's numbers, then the right ones, or NaN where they are not known."""

    mixing: float = 0.5
    score_name: str = "mae"

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        given = outputs.float()
        teacher, right = targets[:, : given.shape[1]], targets[:, given.shape[1] :]
        known = ~torch.isnan(right)
        soft = (given - teacher) ** 2
        hard = (given - torch.where(known, right, teacher)) ** 2
        mixing = torch.where(known, self.mixing, 1.0)
        return (mixing * soft + (1 - mixing) * hard).mean(dim=1)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """How far they are from the teacher."""
        return float((outputs.float() - targets[:, : outputs.shape[1]]).abs().mean(dim=1).sum())

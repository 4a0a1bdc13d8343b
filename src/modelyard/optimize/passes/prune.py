"""Magnitude pruning: the weights nearest to zero, over the whole graph, become zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from onnx import ModelProto

from modelyard.optimize.base import Work, number_between
from modelyard.optimize.weights import Weights, why_no_weights, with_weights


def prune(weights: list[Weights], sparsity: float) -> list[Weights]:
    """Exactly ``floor(sparsity × count)`` weights of all are set to zero, the smallest magnitudes first; among equals the earlier ones."""
    sizes = np.concatenate([np.abs(part).ravel().astype(np.float64) for part in weights])
    keep = np.ones(len(sizes), bool)
    keep[np.argsort(sizes, kind="stable")[: int(sparsity * len(sizes))]] = False
    ends = np.cumsum([part.size for part in weights])[:-1]
    return [np.where(mask.reshape(part.shape), part, part.dtype.type(0)) for part, mask in zip(weights, np.split(keep, ends), strict=True)]


@dataclass(frozen=True)
class Prune:
    exact: ClassVar[bool] = False
    sparsity: float

    def supports(self, work: Work) -> str:
        return why_no_weights(work.model)

    def run(self, work: Work) -> ModelProto:
        return with_weights(work.model, lambda weights: prune(weights, self.sparsity))


def read(argument: str) -> Prune:
    return Prune(number_between("prune", argument, 0.0, 1.0, "prune:0.8"))

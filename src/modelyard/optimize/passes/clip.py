"""Weight clipping: outliers are pulled in, so that the rest of the weights get a finer grid when they are quantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from onnx import ModelProto

from modelyard.optimize.base import Work, number_between
from modelyard.optimize.weights import Weights, why_no_weights, with_weights


def clip(weights: Weights, percentile: float) -> Weights:
    """One tensor, held between plus and minus that percentile of its magnitudes."""
    return within(weights, float(np.percentile(np.abs(weights).astype(np.float64), percentile)))


def within(weights: Weights, bound: float) -> Weights:
    """One tensor, held between plus and minus the bound."""
    return np.clip(weights, -bound, bound).astype(weights.dtype)


@dataclass(frozen=True)
class Clip:
    exact: ClassVar[bool] = False
    percentile: float = 0.0
    bound: float = 0.0
    """The same for all layers, in place of a percentile of each."""

    def supports(self, work: Work) -> str:
        return why_no_weights(work.model)

    def run(self, work: Work) -> ModelProto:
        return with_weights(work.model, lambda weights: [self._clipped(part) for part in weights])

    def _clipped(self, weights: Weights) -> Weights:
        return within(weights, self.bound) if self.bound else clip(weights, self.percentile)


def read(argument: str) -> Clip:
    if argument.startswith("range="):
        return Clip(bound=number_between("clip", argument.removeprefix("range="), 0.0, np.inf, "clip:range=0.5"))
    return Clip(number_between("clip", argument, 50.0, 100.0, "clip:99.9 or clip:range=0.5"))

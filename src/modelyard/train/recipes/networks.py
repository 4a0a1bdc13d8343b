"""The settings of a network for tables: the family ``network``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modelyard.train.recipes.learning import Learning
from modelyard.train.recipes.part import Part

Units = Annotated[int, Field(ge=1, le=65_536)]
Loss = Literal["auto", "cross_entropy", "binary", "mse", "mae", "huber"]


class TableNetwork(Part):
    """Fully connected layers over the prepared columns."""

    hidden: tuple[Units, ...] = (64, 32)
    """Units of each hidden layer."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """The share of values that each step leaves out after a hidden layer."""
    loss: Loss = "auto"
    """``cross_entropy`` or, for two classes, ``binary`` (one score and a sigmoid); ``mse``, ``mae`` or ``huber`` for quantities.

    ``auto`` takes ``cross_entropy`` and ``mse``.
    """
    delta: float = Field(default=1.0, gt=0)
    """From which error on, in deviations of the target, ``huber`` grows linearly."""
    class_weights: Literal["none", "balanced"] = "none"
    """``balanced`` makes rare classes count as much as frequent ones."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of each label that is spread over all classes, for ``cross_entropy``."""
    learning: Learning = Learning(epochs=60)

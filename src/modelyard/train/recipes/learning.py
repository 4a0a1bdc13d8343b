"""How a network learns: the part of a recipe that is the same for every network and every kind of data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelyard.train.recipes.part import Part

_ENOUGH_FOR_A_NORM = 32
"""Rows whose mean and variance tell enough of all rows'."""

Beta = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Part):
    """How gradients become steps."""

    kind: Literal["sgd", "adam", "adamw"] = "adamw"
    """``sgd`` is stochastic gradient descent with momentum."""
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    """The largest that the schedule reaches."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """For ``sgd``."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """For ``adam`` and ``adamw``: how much of the mean gradient, and of the mean square, each step keeps."""
    l1: float = Field(default=0.0, ge=0)
    """Weight of the sum of the weights' sizes in the loss."""
    l2: float = Field(default=0.01, ge=0)
    """Decay of the weights: part of the gradient for ``sgd`` and ``adam``, apart from it for ``adamw``. Biases and norms do not decay."""


class Schedule(Part):
    """The learning rate over the steps."""

    kind: Literal["constant", "linear", "cosine", "step"] = "cosine"
    """After the warm-up: constant, falling to 0 along a line or a cosine, or by a factor every few epochs."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """The share of all steps over which it first rises from 0."""
    every: int = Field(default=10, ge=1)
    """Epochs between two falls of ``step``."""
    factor: float = Field(default=0.1, gt=0, lt=1)
    """What ``step`` multiplies it with."""


class Learning(Part):
    """Epochs, batches, steps and when to stop."""

    epochs: int = Field(default=30, ge=1, le=100_000)
    """Most passes over the training rows."""
    batch_size: int = Field(default=64, ge=1, le=65_536)
    """Rows that go through the network together."""
    accumulation: int = Field(default=1, ge=1, le=1024)
    """Batches whose gradients make one step."""
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    clip: float | None = Field(default=1.0, gt=0)
    """The largest norm of a step's gradient; null leaves gradients as they are."""
    validation_size: float = Field(default=0.1, ge=0.02, le=0.5)
    """The share of the training rows that no step is made with: what the best epoch is chosen by."""
    patience: int | None = Field(default=8, ge=1)
    """Epochs without a better validation loss after which training stops; null goes on to the last epoch."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the network's sums: ``auto`` takes bfloat16 on GPUs that have it and float32 elsewhere; ``float16`` needs a GPU."""
    checkpoint_seconds: float = Field(default=20.0, ge=0)
    """Time between two checkpoints, which a killed or cancelled job goes on from; 0 writes one after every step."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that learn together, each with ``batch_size`` rows of every batch, and the cores and GPUs that the job's limits name."""
    engine: Literal["local", "ray"] = "local"
    """What starts the workers: PyTorch's launcher on this machine, or Ray Train, on the cluster that the platform's settings name."""
    norms: Literal["auto", "shared", "own"] = "auto"
    """Whose rows batch norms take mean and variance of where several workers learn: ``shared`` takes all workers', which makes the steps of
    one process with so many times the batch, at two exchanges a norm and step; ``own`` takes each worker's own, as PyTorch's DDP does,
    which makes those of one process with so many times the ``accumulation``; ``auto`` shares them where a worker's batch has fewer than 32
    rows."""
    sharded: bool = False
    """Whether each worker holds a share of weights, gradients and the optimizer's memory only: for networks too large for one of them."""
    restarts: int = Field(default=3, ge=0, le=100)
    """How often the workers start again from the last checkpoint after one of them was lost."""

    @property
    def shares_norms(self) -> bool:
        """Whether batch norms are over the rows of all workers."""
        return self.norms == "shared" or (self.norms == "auto" and self.batch_size < _ENOUGH_FOR_A_NORM)

    @model_validator(mode="after")
    def _sensible(self) -> Learning:
        if self.sharded and self.workers == 1:
            raise ValueError("a sharded network needs workers to be shared by; set workers to 2 or more")
        if self.sharded and self.precision == "float16":
            raise ValueError("a sharded network is not trained in float16; take bfloat16")
        if self.norms == "own" and self.workers > 1 and self.batch_size == 1:
            raise ValueError("a worker's own norms need batches of 2 rows or more; set batch_size higher, or norms to shared")
        if self.schedule.kind == "step" and self.schedule.every > self.epochs:
            raise ValueError(f"the schedule 'step' would first fall after {self.schedule.every} epochs, and there are {self.epochs}")
        return self

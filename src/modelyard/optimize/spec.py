"""What an optimization is asked for, and what it says of a child: plain data between controller, job and gate."""

from __future__ import annotations

from typing import Any

import msgspec


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a child may lose before it is flagged, each as a share: 0.01 is one hundredth."""

    quality: float = 0.01
    """Of the deciding metric on held-out rows: the difference for scores up to 1, the relative difference for errors.

    1 or more accepts a child without held-out rows, too.
    """
    latency: float = 0.1
    """Of the median time of a call, with one row or with a batch."""
    size: float = 0.05
    """Of the bytes of the artifact."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0.0 <= getattr(self, name) <= 10.0:
                raise ValueError(f"the tolerance {name!r} must lie between 0 and 10")


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parent's data set comes from, so that the job can find the rows that training held out."""

    digest: str
    filename: str
    recipe: str
    """SHA-256 of the recipe, an attachment of the parent."""


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that somebody brought to look at while a model is changed: a table, or tensors by name (``.npz``)."""

    dataset: str
    digest: str
    filename: str
    target: str = ""
    """The column, or the array, with right answers, where they were brought too: children are judged by them."""
    metric: str = ""
    """What decides then; by default F1 of classes, and RMSE of quantities."""


class OptimizeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An optimization as it is stored: the parent fixed by its number, its files by their digests."""

    model: str
    number: int
    passes: tuple[str, ...]
    tolerance: Tolerance
    entry: str
    files: dict[str, str]
    """Path inside the parent's artifact → SHA-256."""
    rows: Rows | None = None
    """Nothing for a version that was not trained here."""
    student: dict[str, Any] = {}
    """The student's recipe (``train.recipes.student``), for the pass ``distill``."""
    samples: Samples | None = None
    """In place of training rows, and for versions without any."""
    format: str = "onnx"
    """Or ``openvino`` for a language model."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the job asks its confined child for."""

    spec: OptimizeSpec
    parent: str
    """The folder of the parent's files."""
    data: str = ""
    recipe: str = ""
    """Files that the held-out rows are found with, where the spec has ``rows``."""
    samples: str = ""
    """The file of ``spec.samples``."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One child to be; its files are in ``output/N``, counted from 0."""

    written: str
    """The pass as it was asked for."""
    report: dict[str, Any]
    metrics: dict[str, float]
    evaluation: dict[str, Any] = {}
    """As a training's report has it."""

"""The recipe of a classifier of texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelyard.datasets.read import ReadOptions
from modelyard.train.recipes.learning import Learning, Optimizer
from modelyard.train.recipes.part import Part, Recipe
from modelyard.train.recipes.search import SearchPlan
from modelyard.train.recipes.table import ClassificationMetric, ColumnName, Reading


class TextNetwork(Part):
    """Which network reads the tokens, and how large."""

    kind: Literal["transformer", "gru", "lstm"] = "transformer"
    """An embedding of the tokens, then a Transformer encoder or recurrent layers; what is said of the tokens is averaged."""
    width: int = Field(default=64, ge=1, le=4096)
    """Numbers for each token."""
    depth: int = Field(default=1, ge=1, le=24)
    """Layers."""
    heads: int = Field(default=4, ge=1, le=64)
    """Heads of attention; ``width`` is a multiple of it."""
    bidirectional: bool = True
    """Whether recurrent layers read the text from both ends."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """The share of values that each step leaves out."""

    @model_validator(mode="after")
    def _divisible(self) -> TextNetwork:
        if self.kind == "transformer" and self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        return self


class Tokens(Part):
    """The tokenizer: byte-level BPE, learned from the texts to learn from."""

    vocabulary: int = Field(default=4_000, ge=300, le=500_000)
    """Most tokens."""
    min_frequency: int = Field(default=2, ge=1)
    """How often a pair must be seen to become a token."""
    lowercase: bool = True
    """Whether capitals count as small letters."""
    longest: int = Field(default=128, ge=8, le=8_192)
    """Tokens of a text that are read; the rest is cut off, in training as in service."""


class TextRecipe(Recipe):
    """Classes of texts, from a table with a column of texts and one of labels.

    The metrics of the version are those of held-out texts. The same recipe and data on the same machine give the same model.
    """

    kind: Literal["text"]
    """A CSV or Parquet file with a column of texts."""
    text: ColumnName = "text"
    """The column of texts."""
    target: ColumnName
    """The column of labels."""
    on_empty: Literal["refuse", "skip"] = "refuse"
    """Whether rows without a text end the job, or are left out and counted."""
    tokens: Tokens = Tokens()
    network: TextNetwork = TextNetwork()
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """``balanced`` makes rare classes count as much as frequent ones; or a weight for each class."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of each label that is spread over all classes."""
    reading: Reading = Reading()
    learning: Learning = Learning(epochs=20, batch_size=32, optimizer=Optimizer(learning_rate=3e-3))
    search: SearchPlan | None = None
    """Fields of this recipe to search over."""
    metric: ClassificationMetric = "f1_macro"
    """What children of the version are judged by."""

    @model_validator(mode="after")
    def _two_columns(self) -> TextRecipe:
        if self.text == self.target:
            raise ValueError(f"the column {self.text!r} cannot be both text and target; name the column of labels")
        return self

    def read_options(self) -> ReadOptions:
        """How to read the file: both columns are words, and only an empty cell is missing unless the recipe says otherwise."""
        reading = self.reading
        missing = () if reading.missing is None else reading.missing
        return ReadOptions(
            reading.encoding, reading.separator, reading.decimal, reading.header, missing, frozenset({self.text, self.target})
        )

"""The recipe of a classifier of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from modelyard.train.recipes.labelled import LabelledTexts
from modelyard.train.recipes.learning import Learning, Optimizer
from modelyard.train.recipes.part import Part
from modelyard.train.recipes.search import SearchPlan


class TextNetwork(Part):
    """Which network reads the tokens, and how large."""

    kind: Literal["bag", "transformer", "gru", "lstm"] = "bag"
    """``bag`` counts tokens and pairs of neighbours, which is what a few thousand texts teach; otherwise an embedding of the tokens, then a
    Transformer encoder or recurrent layers, and the mean over the tokens.
    """
    pairs: int = Field(default=32_768, ge=0, le=1 << 24)
    """For ``bag``: places for pairs of tokens; 0 counts tokens alone."""
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


_LEARNING = {
    # Steps that Adam makes as long for a token that is seen once as for a frequent one learn rare tokens by heart.
    "bag": Learning(epochs=20, batch_size=32, optimizer=Optimizer(kind="sgd", learning_rate=2.0, l2=1e-4)),
    "transformer": Learning(epochs=20, batch_size=32, optimizer=Optimizer(learning_rate=3e-3)),
}


class TextRecipe(LabelledTexts):
    """Classes of texts, learned by a network that has seen no others.

    The metrics of the version are those of held-out texts. The same recipe and data on the same machine give the same model.
    """

    kind: Literal["text"]
    """A CSV or Parquet file with a column of texts."""
    tokens: Tokens = Tokens()
    network: TextNetwork = TextNetwork()
    learning: Learning = _LEARNING["bag"]
    """What is left out of it is chosen for the kind of network: long plain steps (``sgd``) for ``bag``, ``adamw`` for others."""
    search: SearchPlan | None = None
    """Fields of this recipe to search over."""

    @model_validator(mode="before")
    @classmethod
    def _learning_of_the_kind(cls, fields: Any) -> Any:
        network, learning = fields.get("network", {}), fields.get("learning", {})
        if not isinstance(network, Mapping) or not isinstance(learning, Mapping) or not isinstance(learning.get("optimizer", {}), Mapping):
            return fields  # to be refused as what it is, or made already
        usual = _LEARNING.get(network.get("kind", "bag"), _LEARNING["transformer"]).model_dump(exclude_defaults=True)
        optimizer = learning.get("optimizer", {})
        if optimizer.get("kind", usual["optimizer"].get("kind")) == usual["optimizer"].get("kind"):
            optimizer = {**usual["optimizer"], **optimizer}
        return {**fields, "learning": {**usual, **learning, "optimizer": optimizer}}

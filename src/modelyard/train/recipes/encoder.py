"""The recipe of a fine-tuned encoder: one that has read much text already learns to tell classes apart (LoRA)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from modelyard.train.recipes.adapter import Layer
from modelyard.train.recipes.labelled import LabelledTexts
from modelyard.train.recipes.learning import Learning, Optimizer
from modelyard.train.recipes.part import Part


class EncoderLora(Part):
    """Which matrices of the encoder get an addition, and how large it is."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Of each addition: the product of a tall and a wide matrix with so many columns and rows."""
    alpha: int = Field(default=16, ge=1)
    """The addition counts ``alpha / rank`` times."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """The share of a layer's input that the addition does not see in a step."""
    layers: tuple[Layer, ...] = ()
    """The ends of the names of the layers that are changed; by default every linear layer of the encoder."""


class EncoderRecipe(LabelledTexts):
    """Classes of texts, learned by an encoder of Hugging Face's that is a version already. Its head is new, and is learned in full.

    The child that is registered is one graph, additions included, with its base's tokenizer; it is served as its base is.
    """

    kind: Literal["encoder"]
    """A CSV or Parquet file with a column of texts."""
    base: str = Field(min_length=1)
    """The version that is fine-tuned: ``NAME@VERSION`` or an alias of it."""
    longest: int = Field(default=128, ge=8, le=8_192)
    """Tokens of a text that are read, at most as many as the base reads; the rest is cut off, in training as in service."""
    lora: EncoderLora = EncoderLora()
    learning: Learning = Learning(epochs=5, batch_size=16, optimizer=Optimizer(learning_rate=2e-3), patience=2)

    @model_validator(mode="after")
    def _whole(self) -> EncoderRecipe:
        if self.learning.sharded:
            raise ValueError("additions are learned beside a whole base; leave learning.sharded at false")
        return self

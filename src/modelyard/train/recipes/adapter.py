"""The recipe of an adapter: a language model that is there learns a little more, in a few small matrices (LoRA)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from modelyard.train.recipes.learning import Learning, Optimizer
from modelyard.train.recipes.part import Part, Recipe

Layer = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*$")]


class Lora(Part):
    """Which matrices get an addition, and how large it is."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Of each addition: the product of a tall and a wide matrix with so many columns and rows."""
    alpha: int = Field(default=16, ge=1)
    """The addition counts ``alpha / rank`` times."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """The share of a layer's input that the addition does not see in a step."""
    layers: tuple[Layer, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """The ends of the names of the layers that are changed."""


class AdapterRecipe(Recipe):
    """A LoRA adapter of a language model that is a version already: the child that is registered serves both, added as it loads.

    The metrics are those of held-out text, beside the base's own on the same text.
    """

    kind: Literal["adapter"]
    """A text file, a file with a JSON object a line, or a folder of both."""
    base: str = Field(min_length=1)
    """The version that is adapted: ``NAME@VERSION`` or an alias of it."""
    test_size: float = Field(default=0.1, ge=0.005, le=0.5)
    lora: Lora = Lora()
    window: int = Field(default=256, ge=8, le=131_072)
    """Most tokens of a text or conversation; the rest of a longer one is another row, or is cut off."""
    learn: Literal["answers", "everything"] = "answers"
    """Of conversations: what the assistant says, or all of it. Of running text everything is learned."""
    learning: Learning = Learning(epochs=3, batch_size=8, optimizer=Optimizer(learning_rate=1e-3, l2=0.0), patience=2, validation_size=0.1)

    @model_validator(mode="after")
    def _whole(self) -> AdapterRecipe:
        if self.learning.sharded:
            raise ValueError("an adapter is learned beside a whole base; leave learning.sharded at false")
        return self

"""The recipe of a language model: a decoder that is trained from text alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from modelyard.train.recipes.learning import Learning, Optimizer, Schedule
from modelyard.train.recipes.part import Part, Recipe

Prompt = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]


class Tokenizer(Part):
    """How text is cut: byte-level BPE, learned from the training text."""

    vocabulary: int = Field(default=4096, ge=260, le=262_144)
    """Tokens at most; 256 of them are the bytes."""
    min_frequency: int = Field(default=2, ge=1)
    """How often a pair must occur to become a token."""


class Decoder(Part):
    """A decoder-only Transformer of Llama's shape: rotary positions, RMS norms, a gated feed-forward part."""

    hidden: int = Field(default=192, ge=8, le=16_384)
    """Numbers that stand for a token between layers; a multiple of ``heads``."""
    layers: int = Field(default=4, ge=1, le=256)
    heads: int = Field(default=6, ge=1, le=256)
    """Attention heads."""
    key_heads: int | None = Field(default=None, ge=1, le=256)
    """Heads of keys and values, each shared by as many queries; by default as many as ``heads``."""
    feed_forward: int | None = Field(default=None, ge=8, le=65_536)
    """Units of the feed-forward part; by default 8/3 of ``hidden``, to a multiple of 32."""
    context: int = Field(default=512, ge=16, le=131_072)
    """Most tokens that the model reads at once."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The share of values that each step leaves out of what a layer adds."""
    rope_base: float = Field(default=10_000.0, gt=1)
    """The longest wave of the rotary positions, in tokens, over 2π."""
    tied: bool = True
    """Whether the same matrix reads tokens and predicts them."""

    @property
    def units(self) -> int:
        """Of the feed-forward part."""
        return self.feed_forward or -(-self.hidden * 8 // 3 // 32) * 32

    @model_validator(mode="after")
    def _fits(self) -> Decoder:
        if self.hidden % self.heads or self.hidden // self.heads % 2:
            raise ValueError(f"hidden ({self.hidden}) must be an even multiple of heads ({self.heads})")
        if self.key_heads is not None and self.heads % self.key_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of key_heads ({self.key_heads})")
        return self


class Samples(Part):
    """What the finished model says, stored with the version."""

    count: int = Field(default=8, ge=0, le=256)
    """How many texts; prompts are taken in turn."""
    tokens: int = Field(default=60, ge=1, le=4096)
    """Most tokens of each."""
    temperature: float = Field(default=0.7, ge=0, le=5)
    """Below 1 likelier tokens are taken more often; 0 takes the likeliest. It is also the version's own default."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Only the likeliest tokens that together have this probability."""
    prompts: tuple[Prompt, ...] = ()
    """How they begin; by default as held-out texts do."""


class LanguageModelRecipe(Recipe):
    """A decoder and its tokenizer, from running text or conversations.

    The metrics are those of held-out text, which neither the tokenizer nor the decoder has seen.
    """

    kind: Literal["language_model"]
    """A text file, a file with a JSON object a line, or a folder of both."""
    test_size: float = Field(default=0.05, ge=0.005, le=0.5)
    tokenizer: Tokenizer = Tokenizer()
    network: Decoder = Decoder()
    window: int = Field(default=128, ge=8, le=131_072)
    """Tokens that are learned from at once, at most ``network.context``; what lies further apart is not learned to belong together."""
    learning: Learning = Learning(
        epochs=20,
        batch_size=16,
        optimizer=Optimizer(learning_rate=3e-3, l2=0.05, betas=(0.9, 0.95)),
        schedule=Schedule(kind="cosine", warmup=0.03),
        patience=3,
        validation_size=0.05,
    )
    samples: Samples = Samples()

    @model_validator(mode="after")
    def _within(self) -> LanguageModelRecipe:
        if self.window > self.network.context:
            raise ValueError(f"window ({self.window}) must be at most network.context ({self.network.context})")
        return self

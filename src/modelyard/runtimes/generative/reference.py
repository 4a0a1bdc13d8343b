"""A decoder in plain NumPy: slow, and independent of every library that serves, so that a conversion can be proven against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelyard.runtimes.generative.weights import DecoderConfig, Tensors, Weight


def reference_logits(config: DecoderConfig, weights: Tensors, tokens: Sequence[int]) -> Weight:
    """Logits of every position of ``tokens``, in float32. Raises InvalidArtifact for weights that do not fit."""
    embedding = weights.get("model.embed_tokens.weight", (config.vocabulary, config.hidden))
    x: Weight = embedding[np.asarray(tokens)]
    cosine, sine = _rotation(config, len(tokens))
    for layer in range(config.layers):
        block = _Block(config, weights, f"model.layers.{layer}.")
        x = x + block.attention(_norm(x, block.norm("input_layernorm"), config.epsilon), cosine, sine)
        x = x + block.feed_forward(_norm(x, block.norm("post_attention_layernorm"), config.epsilon))
    x = _norm(x, weights.get("model.norm.weight", (config.hidden,)), config.epsilon)
    tied = config.tied or "lm_head.weight" not in weights
    head = embedding if tied else weights.get("lm_head.weight", (config.vocabulary, config.hidden))
    logits: Weight = x @ head.T
    return logits


class _Block:
    def __init__(self, config: DecoderConfig, weights: Tensors, prefix: str) -> None:
        self._config = config
        self._weights = weights
        self._prefix = prefix

    def norm(self, name: str) -> Weight:
        return self._weights.get(f"{self._prefix}{name}.weight", (self._config.hidden,))

    def attention(self, x: Weight, cosine: Weight, sine: Weight) -> Weight:
        config = self._config
        query = self._heads(x, "q_proj", config.heads)
        key = self._heads(x, "k_proj", config.key_heads)
        value = self._heads(x, "v_proj", config.key_heads)
        query, key = _rotate(self._head_norm(query, "q_norm"), cosine, sine), _rotate(self._head_norm(key, "k_norm"), cosine, sine)
        repeat = config.heads // config.key_heads
        key, value = key.repeat(repeat, axis=0), value.repeat(repeat, axis=0)
        scores: Weight = query @ key.swapaxes(1, 2) / np.sqrt(config.head_size, dtype=np.float32)
        scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        shares: Weight = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).swapaxes(0, 1).reshape(len(x), config.heads * config.head_size)
        return self._linear(mixed, "self_attn.o_proj", config.hidden)

    def feed_forward(self, x: Weight) -> Weight:
        wide = self._config.feed_forward
        gate = self._linear(x, "mlp.gate_proj", wide)
        shaped = gate / (1 + np.exp(-gate)) * self._linear(x, "mlp.up_proj", wide)
        return self._linear(shaped, "mlp.down_proj", self._config.hidden)

    def _heads(self, x: Weight, name: str, heads: int) -> Weight:
        size = self._config.head_size
        return self._linear(x, f"self_attn.{name}", heads * size).reshape(len(x), heads, size).swapaxes(0, 1)

    def _head_norm(self, x: Weight, name: str) -> Weight:
        full = f"{self._prefix}self_attn.{name}.weight"
        if full not in self._weights:
            return x
        return _norm(x, self._weights.get(full, (self._config.head_size,)), self._config.epsilon)

    def _linear(self, x: Weight, name: str, out: int) -> Weight:
        full = self._prefix + name
        made: Weight = x @ self._weights.get(f"{full}.weight", (out, x.shape[1])).T
        return made + self._weights.get(f"{full}.bias", (out,)) if f"{full}.bias" in self._weights else made


def _norm(x: Weight, weight: Weight, epsilon: float) -> Weight:
    scale = np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    normal: Weight = (x / scale * weight).astype(np.float32)
    return normal


def _rotation(config: DecoderConfig, length: int) -> tuple[Weight, Weight]:
    half = config.head_size // 2
    speeds = np.power(config.rope_base, -np.arange(half, dtype=np.float64) / half)
    angles = np.outer(np.arange(length), speeds)
    both = np.concatenate([angles, angles], axis=1)
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)


def _rotate(x: Weight, cosine: Weight, sine: Weight) -> Weight:
    half = x.shape[-1] // 2
    turned: Weight = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    rotated: Weight = (x * cosine + turned * sine).astype(np.float32)
    return rotated

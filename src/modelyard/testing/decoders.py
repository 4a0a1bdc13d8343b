"""Small decoders as Hugging Face saves them, made in a moment: a tokenizer learned from text, and random weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from modelyard.train.language.tokenizer import learn_tokenizer, save_tokenizer


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """How large it is; the defaults make about a million parameters."""

    vocabulary: int = 1024
    hidden: int = 128
    feed_forward: int = 320
    layers: int = 3
    heads: int = 4
    key_heads: int = 2
    context_length: int = 256


def write_decoder(folder: Path, texts: Iterable[str], shape: DecoderShape | None = None, seed: int = 0) -> DecoderShape:
    """Writes a decoder of Llama's kind with random weights to ``folder``."""
    shape = shape or DecoderShape()
    tokenizer = learn_tokenizer(texts, shape.vocabulary)
    save_tokenizer(tokenizer, folder)
    if tokenizer.get_vocab_size() > shape.vocabulary:
        raise ValueError(f"The tokenizer has {tokenizer.get_vocab_size()} tokens, more than the {shape.vocabulary} that were asked for.")
    (folder / "config.json").write_text(json.dumps(_config(shape), indent=2))
    save_file(_weights(shape, seed), folder / "model.safetensors")
    return shape


def _config(shape: DecoderShape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "max_position_embeddings": shape.context_length,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def _weights(shape: DecoderShape, seed: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    size = shape.hidden // shape.heads

    def matrix(out: int, into: int) -> NDArray[np.float32]:
        return (random.standard_normal((out, into), dtype=np.float32) * np.float32(1.5 / np.sqrt(into))).astype(np.float32)

    ones = np.ones(shape.hidden, dtype=np.float32)
    found = {"model.embed_tokens.weight": matrix(shape.vocabulary, shape.hidden), "model.norm.weight": ones}
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        found[f"{at}input_layernorm.weight"] = ones.copy()
        found[f"{at}post_attention_layernorm.weight"] = ones.copy()
        found[f"{at}self_attn.q_proj.weight"] = matrix(shape.heads * size, shape.hidden)
        found[f"{at}self_attn.k_proj.weight"] = matrix(shape.key_heads * size, shape.hidden)
        found[f"{at}self_attn.v_proj.weight"] = matrix(shape.key_heads * size, shape.hidden)
        found[f"{at}self_attn.o_proj.weight"] = matrix(shape.hidden, shape.heads * size)
        found[f"{at}mlp.gate_proj.weight"] = matrix(shape.feed_forward, shape.hidden)
        found[f"{at}mlp.up_proj.weight"] = matrix(shape.feed_forward, shape.hidden)
        found[f"{at}mlp.down_proj.weight"] = matrix(shape.hidden, shape.feed_forward)
    return found

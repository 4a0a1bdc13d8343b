"""Writes a decoder's weights as GGUF, the form from which OpenVINO GenAI builds its graph."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from modelyard.core.errors import InvalidArtifact
from modelyard.runtimes.generative.weights import DecoderConfig, Weight, Weights

_NORMAL, _CONTROL = 1, 3


class Precision(StrEnum):
    """How weights are kept."""

    F16 = "f16"
    Q8 = "q8_0"  # eight bits with a scale for each 32
    Q5 = "q5_0"  # five; what turns tokens into numbers, and numbers into tokens, keeps eight
    Q4 = "q4_0"  # four, likewise


_KINDS = {
    Precision.Q8: (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    Precision.Q5: (gguf.GGMLQuantizationType.Q5_0, gguf.LlamaFileType.MOSTLY_Q5_0),
    Precision.Q4: (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
"""Those that gguf writes by itself; it only reads k-quants."""
_BLOCK = 32


def write_gguf(folder: Path, config: DecoderConfig, path: Path, precision: Precision, *, tokenizer: bool = False) -> None:
    """Writes the decoder in ``folder`` to ``path``; with its ``tokenizer`` where that is a byte-level BPE and others are to read the file.

    Raises InvalidArtifact for weights that do not fit the configuration.
    """
    writer = gguf.GGUFWriter(path, config.architecture)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.feed_forward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.key_heads)
    writer.add_key_length(config.head_size)
    writer.add_value_length(config.head_size)
    writer.add_layer_norm_rms_eps(config.epsilon)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_vocab_size(config.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if precision is Precision.F16 else _KINDS[precision][1])
    _add_tokens(writer, folder, config, whole=tokenizer)
    _Tensors(writer, config, Weights(folder), precision).add()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class _Tensors:
    def __init__(self, writer: gguf.GGUFWriter, config: DecoderConfig, weights: Weights, precision: Precision) -> None:
        self._writer = writer
        self._config = config
        self._weights = weights
        self._precision = precision

    def add(self) -> None:
        config = self._config
        self._matrix("token_embd", "model.embed_tokens", config.vocabulary, config.hidden)
        self._vector("output_norm", "model.norm", config.hidden)
        if not config.tied and "lm_head.weight" in self._weights:
            self._matrix("output", "lm_head", config.vocabulary, config.hidden)
        for layer in range(config.layers):
            self._layer(f"blk.{layer}.", f"model.layers.{layer}.")

    def _layer(self, ours: str, theirs: str) -> None:
        config = self._config
        queries, keys = config.heads * config.head_size, config.key_heads * config.head_size
        self._vector(f"{ours}attn_norm", f"{theirs}input_layernorm", config.hidden)
        self._vector(f"{ours}ffn_norm", f"{theirs}post_attention_layernorm", config.hidden)
        self._matrix(f"{ours}attn_q", f"{theirs}self_attn.q_proj", queries, config.hidden, config.heads)
        self._matrix(f"{ours}attn_k", f"{theirs}self_attn.k_proj", keys, config.hidden, config.key_heads)
        self._matrix(f"{ours}attn_v", f"{theirs}self_attn.v_proj", keys, config.hidden)
        self._matrix(f"{ours}attn_output", f"{theirs}self_attn.o_proj", config.hidden, queries)
        self._matrix(f"{ours}ffn_gate", f"{theirs}mlp.gate_proj", config.feed_forward, config.hidden)
        self._matrix(f"{ours}ffn_up", f"{theirs}mlp.up_proj", config.feed_forward, config.hidden)
        self._matrix(f"{ours}ffn_down", f"{theirs}mlp.down_proj", config.hidden, config.feed_forward)
        for ours_name, theirs_name in (("attn_q_norm", "q_norm"), ("attn_k_norm", "k_norm")):
            if f"{theirs}self_attn.{theirs_name}.weight" in self._weights:
                self._vector(ours + ours_name, f"{theirs}self_attn.{theirs_name}", config.head_size)

    def _matrix(self, ours: str, theirs: str, out: int, into: int, heads: int = 0) -> None:
        """A linear layer with its bias, where it has one. ``heads`` reorders rows as GGUF's llama wants them rotated."""
        turn = heads and self._config.architecture == "llama"
        weight = self._weights.get(f"{theirs}.weight", (out, into))
        weight = _interleaved(weight, heads) if turn else weight
        if self._precision is Precision.F16 or into % _BLOCK:
            if not np.all(np.abs(weight) <= np.finfo(np.float16).max):
                raise InvalidArtifact(f"The tensor {theirs}.weight has values that float16 cannot hold.")
            self._writer.add_tensor(f"{ours}.weight", weight.astype(np.float16))
        else:
            kind, _ = _KINDS[Precision.Q8 if ours in {"token_embd", "output"} else self._precision]
            self._writer.add_tensor(f"{ours}.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)
        if f"{theirs}.bias" in self._weights:
            bias = self._weights.get(f"{theirs}.bias", (out,))
            self._writer.add_tensor(f"{ours}.bias", _interleaved(bias, heads) if turn else bias)

    def _vector(self, ours: str, theirs: str, size: int) -> None:
        self._writer.add_tensor(f"{ours}.weight", self._weights.get(f"{theirs}.weight", (size,)))


def _interleaved(weight: Weight, heads: int) -> Weight:
    """Rows of each head's two halves, taken in turn."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _add_tokens(writer: gguf.GGUFWriter, folder: Path, config: DecoderConfig, *, whole: bool) -> None:
    """A vocabulary of the right size: a GGUF file must have one, though here text is tokenized by ``tokenizer.json``."""
    tokens = [f"<unused{number}>" for number in range(config.vocabulary)]
    kinds = [_NORMAL] * config.vocabulary
    for text, number, control in _known_tokens(folder):
        if 0 <= number < config.vocabulary:
            tokens[number] = text
            kinds[number] = _CONTROL if control else _NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    ends = _document(folder / "generation_config.json").get("eos_token_id") or [0]
    ends = ends if isinstance(ends, list) else [ends]
    if whole:
        pairs = _document(folder / "tokenizer.json")["model"].get("merges") or ()
        writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in pairs])
        writer.add_add_bos_token(False)
        writer.add_eot_token_id(int(ends[0]))
        template = folder / "chat_template.jinja"
        if template.is_file():
            writer.add_chat_template(template.read_text(encoding="utf-8"))
    else:
        writer.add_token_merges(["a b"])  # the reader insists on some; nothing is tokenized by them
    writer.add_eos_token_id(int(ends[-1]) if whole else 0)
    writer.add_bos_token_id(0)


def _document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _known_tokens(folder: Path) -> list[tuple[str, int, bool]]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InvalidArtifact("The folder has no tokenizer.json; save the tokenizer in the fast format beside the weights.")
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = raw["model"]["vocab"]
        pairs = vocabulary.items() if isinstance(vocabulary, dict) else [(entry[0], at) for at, entry in enumerate(vocabulary)]
        added = [(str(one["content"]), int(one["id"]), True) for one in raw.get("added_tokens") or ()]
        return [*[(str(text), int(number), False) for text, number in pairs], *added]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InvalidArtifact(f"The model's tokenizer.json cannot be used: {type(error).__name__} {error}.") from None

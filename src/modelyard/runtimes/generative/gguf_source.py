"""A GGUF file as somebody brought it: what its metadata says, and its weights by Hugging Face's names.

Runs in confined processes only: the file is parsed by a library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from modelyard.core.errors import InvalidArtifact, ModelyardError, Unsupported
from modelyard.runtimes.edge import attempt
from modelyard.runtimes.generative.weights import ARCHITECTURES, DecoderConfig, Weight

_HUGGING_FACE = {name: architecture for architecture, name in reversed(ARCHITECTURES.items())}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NAMED = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)|(.+)\.(weight|bias)")


class GgufSource:
    """One file. Raises InvalidArtifact when it cannot be read."""

    def __init__(self, path: Path) -> None:
        reader = attempt(partial(gguf.GGUFReader, path))
        if isinstance(reader, ModelyardError):
            raise InvalidArtifact(f"{path.name!r} cannot be read as GGUF: {str(reader.__cause__).strip()[:200] or 'it is damaged'}.")
        self._reader = reader
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        if self.value("split.count", 1) != 1:
            raise Unsupported(f"{path.name!r} is one part of several; join them first (llama-gguf-split --merge) and push that file.")

    @cached_property
    def architecture(self) -> str:
        return str(self.value("general.architecture", ""))

    def value(self, key: str, usual: Any = None) -> Any:
        """A value of the metadata, as plain data."""
        field = self._reader.get_field(key)
        return usual if field is None else field.contents()

    def own(self, key: str, usual: Any = None) -> Any:
        """A value that stands under the architecture's name."""
        return self.value(f"{self.architecture}.{key}", usual)

    @property
    def tokens(self) -> list[str]:
        """The vocabulary in order."""
        return list(self.value("tokenizer.ggml.tokens", ()))

    @property
    def kinds(self) -> list[str]:
        """In which its weights are kept, like ``q8_0``."""
        return sorted({tensor.tensor_type.name.lower() for tensor in self._tensors.values()})

    @property
    def context_length(self) -> int:
        return int(self.own("context_length", 0))

    def config(self) -> DecoderConfig:
        """What the graph depends on.

        Raises Unsupported for a decoder that is none of those which are converted, InvalidArtifact for one that does not say enough.
        """
        if self.architecture not in _HUGGING_FACE:
            known = ", ".join(sorted(_HUGGING_FACE))
            raise Unsupported(f"The architecture {self.architecture!r} is none of those that are converted here ({known}).")
        scaled = str(self.own("rope.scaling.type", "none"))
        if scaled != "none" or "rope_freqs.weight" in self._tensors:
            raise Unsupported("The decoder scales its positions, which the conversion does not know.")
        try:
            heads = int(self.own("attention.head_count"))
            hidden = int(self.own("embedding_length"))
            return DecoderConfig(
                architecture=self.architecture,
                vocabulary=len(self.tokens),
                hidden=hidden,
                feed_forward=int(self.own("feed_forward_length")),
                layers=int(self.own("block_count")),
                heads=heads,
                key_heads=int(self.own("attention.head_count_kv", heads)),
                head_size=int(self.own("attention.key_length", hidden // heads)),
                context_length=self.context_length,
                epsilon=float(self.own("attention.layer_norm_rms_epsilon")),
                rope_base=float(self.own("rope.freq_base", 10000.0)),
                tied="output.weight" not in self._tensors,
            )
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise InvalidArtifact(f"The GGUF file does not say enough of its decoder: {type(error).__name__} {error}.") from None

    def document(self) -> Mapping[str, Any]:
        """What of Hugging Face's ``config.json`` is known."""
        return {
            "architectures": [_HUGGING_FACE.get(self.architecture, self.architecture)],
            "max_position_embeddings": self.context_length,
            "vocab_size": len(self.tokens),
        }


class GgufWeights:
    """Weights under Hugging Face's names, in float32: a stand-in for ``Weights``."""

    def __init__(self, source: GgufSource, config: DecoderConfig) -> None:
        self._config = config
        self._tensors = source._tensors  # two views of one file

    def __contains__(self, name: str) -> bool:
        return _theirs(name) in self._tensors

    def get(self, name: str, shape: tuple[int, ...]) -> Weight:
        """One tensor; raises InvalidArtifact when it is missing or of another shape."""
        tensor = self._tensors.get(_theirs(name))
        if tensor is None:
            raise InvalidArtifact(f"The GGUF file has no tensor {_theirs(name)!r}.")
        found = np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if found.shape != shape:
            raise InvalidArtifact(f"The tensor {_theirs(name)!r} has shape {list(found.shape)}; the metadata asks for {list(shape)}.")
        heads = self._turned(name)
        return _in_halves(found, heads) if heads else found

    def _turned(self, name: str) -> int:
        """Heads whose rows GGUF's llama keeps in another order; 0 for none."""
        if self._config.architecture != "llama":
            return 0
        return self._config.heads if ".q_proj." in name else self._config.key_heads if ".k_proj." in name else 0


def _theirs(name: str) -> str:
    found = _NAMED.fullmatch(name)
    if found is None:
        return ""
    if found[1] is not None:
        return f"blk.{found[1]}.{_LAYER.get(found[2], '')}.{found[3]}"
    return f"{_TOP.get(found[4], '')}.{found[5]}"


def _in_halves(weight: Weight, heads: int) -> Weight:
    """Rows of each head taken in turn, put back into two halves."""
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)

"""A decoder's folder as Hugging Face saves it: its configuration, checked, and its weights by name, from safetensors only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ml_dtypes  # noqa: F401  # teaches NumPy bfloat16
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from modelyard.core.errors import InvalidArtifact, Unsupported

Weight = NDArray[np.float32]
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""Hugging Face's architectures that are one graph with small differences, and GGUF's name for each."""
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """What of ``config.json`` the graph depends on."""

    architecture: str
    """GGUF's name."""
    vocabulary: int
    hidden: int
    feed_forward: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    context_length: int
    epsilon: float
    rope_base: float
    tied: bool


def read_config(folder: Path) -> DecoderConfig:
    """Raises InvalidArtifact for a folder without a usable ``config.json``, Unsupported for a decoder of another kind."""
    path = folder / "config.json"
    if not path.is_file():
        raise InvalidArtifact("The folder has no config.json; save the model with save_pretrained and push that folder.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        named = (raw.get("architectures") or ["?"])[0]
        if named not in ARCHITECTURES:
            raise Unsupported(f"{named} is none of the decoders that are converted here: {', '.join(ARCHITECTURES)}.")
        _refuse_variants(raw)
        rope = raw.get("rope_parameters") or {}
        heads = int(raw["num_attention_heads"])
        return DecoderConfig(
            architecture=ARCHITECTURES[named],
            vocabulary=int(raw["vocab_size"]),
            hidden=int(raw["hidden_size"]),
            feed_forward=int(raw["intermediate_size"]),
            layers=int(raw["num_hidden_layers"]),
            heads=heads,
            key_heads=int(raw.get("num_key_value_heads") or heads),
            head_size=int(raw.get("head_dim") or raw["hidden_size"] // heads),
            context_length=int(raw["max_position_embeddings"]),
            epsilon=float(raw["rms_norm_eps"]),
            rope_base=float(rope.get("rope_theta") or raw.get("rope_theta") or 10000.0),
            tied=bool(raw.get("tie_word_embeddings", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InvalidArtifact(f"The model's config.json cannot be used: {type(error).__name__} {error}.") from None


def _refuse_variants(raw: dict[str, Any]) -> None:
    """Raises Unsupported for what would change the graph."""
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        raise Unsupported(f"The decoder scales its positions ({kind}), which the conversion does not know.")
    window = raw.get("sliding_window")
    if window and raw.get("use_sliding_window", True) and window < raw["max_position_embeddings"]:
        raise Unsupported(f"The decoder attends to the last {window} tokens only, which the conversion does not know.")
    if raw.get("hidden_act", "silu") not in {"silu", "swish"}:
        raise Unsupported(f"The decoder's activation is {raw['hidden_act']!r}, which the conversion does not know.")
    if raw.get("mlp_bias"):
        raise Unsupported("The decoder's feed-forward layers have biases, which the conversion does not know.")


class Tensors(Protocol):
    """Weights by Hugging Face's names."""

    def __contains__(self, name: str) -> bool: ...
    def get(self, name: str, shape: tuple[int, ...]) -> Weight:
        """One tensor in float32; raises InvalidArtifact when it is missing or of another shape."""


class Weights:
    """Tensors by name, read one at a time. Raises InvalidArtifact."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            pickled = [path.name for pattern in _PICKLED for path in folder.glob(pattern)]
            raise InvalidArtifact(
                f"The weights are pickled ({', '.join(pickled[:3])}), which can run code; save them as safetensors."
                if pickled
                else "The folder has no *.safetensors file with weights."
            )
        self._files: dict[str, Path] = {}
        for path in files:
            with _opened(path) as file:
                self._files.update(dict.fromkeys(file.keys(), path))

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def get(self, name: str, shape: tuple[int, ...]) -> Weight:
        """One tensor in float32; raises InvalidArtifact when it is missing or of another shape."""
        if name not in self._files:
            raise InvalidArtifact(f"The weights have no tensor {name!r}, which config.json asks for.")
        with _opened(self._files[name]) as file:
            found = np.asarray(file.get_tensor(name)).astype(np.float32)
        if found.shape != shape:
            raise InvalidArtifact(f"The tensor {name!r} has shape {list(found.shape)}; config.json asks for {list(shape)}.")
        return found


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise InvalidArtifact(f"The file {path.name} cannot be read as safetensors: {error}.") from None

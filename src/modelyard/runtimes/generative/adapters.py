"""LoRA adapters: what they add to which matrices, and how it gets into a graph before that is compiled."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.runtimes.generative.weights import Weight, Weights

ADAPTER = "adapter"
"""The folder beside a graph in which an adapter lies."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_HALF = re.compile(r"base_model\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight")
_REFUSED = {"use_dora": "DoRA", "modules_to_save": "modules_to_save", "lora_bias": "a LoRA bias", "alora_invocation_tokens": "aLoRA"}


class Adapter:
    """An adapter's folder, checked.

    Raises Unsupported for a kind of LoRA that is not a sum of matrices, InvalidArtifact when it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            for field, said in _REFUSED.items():
                if self._config.get(field):
                    raise Unsupported(f"The adapter uses {said}, which is not merged here.")
            if self._config.get("bias", "none") != "none":
                raise Unsupported("The adapter changes biases, which is not merged here; train it with bias='none'.")
            self._rank = int(self._config["r"])
            self._alpha = float(self._config.get("lora_alpha", self._rank))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidArtifact(f"The adapter's {CONFIG} cannot be used: {type(error).__name__} {error}.") from None
        self._weights = Weights(folder)
        halves: dict[str, set[str]] = {}
        for name in self._weights:
            found = _HALF.fullmatch(name)
            if found is None:
                raise Unsupported(f"The adapter has a tensor {name[:120]!r}, which is no part of a plain LoRA.")
            halves.setdefault(found[1], set()).add(found[2])
        lone = [name for name, sides in halves.items() if sides != {"A", "B"}]
        if lone or not halves:
            raise InvalidArtifact(f"The adapter has only one half for {lone[0]!r}." if lone else "The adapter changes nothing.")
        self.changes = frozenset(halves)
        """Names of the layers whose matrices it changes, as the model has them."""

    def delta(self, name: str, shape: tuple[int, ...]) -> Weight:
        """What is added to a layer's matrix. Raises InvalidArtifact when it does not fit."""
        rank = self._pattern("rank_pattern", name, self._rank)
        down = self._half(name, "A", (int(rank), shape[1]))
        up = self._half(name, "B", (shape[0], int(rank)))
        alpha = self._pattern("alpha_pattern", name, self._alpha)
        scale = alpha / (np.sqrt(rank) if self._config.get("use_rslora") else rank)
        found: Weight = (up @ down * np.float32(scale)).astype(np.float32)
        return found

    def _half(self, name: str, side: str, shape: tuple[int, int]) -> Weight:
        full = f"base_model.model.{name}.lora_{side}.weight"
        return self._weights.get(full if full in self._weights else full.replace(".weight", ".default.weight"), shape)

    def _pattern(self, field: str, name: str, usual: float) -> float:
        for pattern, value in (self._config.get(field) or {}).items():
            if name == pattern or name.endswith(f".{pattern}"):
                return float(value)
        return usual


def apply(model: ov.Model, adapter: Adapter) -> None:
    """Adds an adapter to the matrices of a graph.

    Raises InvalidArtifact when the graph has none of such a name and shape, Unsupported when its weights are too coarse to be changed.
    """
    constants = _constants(model)
    for name in sorted(adapter.changes):
        node = constants.get(name)
        if node is None:
            raise InvalidArtifact(f"The adapter changes {name!r}, which the base does not have; name the version that it was trained on.")
        if node.get_element_type() not in {ov.Type.f16, ov.Type.f32, ov.Type.bf16}:
            raise Unsupported("The base's weights are quantized, and an adapter cannot be added to them; push the base in float16.")
        data = node.get_data()
        changed = op.constant((data.astype(np.float32) + adapter.delta(name, data.shape)).astype(data.dtype))
        changed.set_friendly_name(node.get_friendly_name())
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(changed.output(0))


def _constants(model: ov.Model) -> dict[str, Any]:
    """Matrices of a graph by the names of their layers."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant":
            name = re.sub(r"\[(\d+)\]", r".\1", node.get_friendly_name())
            at = name.find("model.layers.")
            if at >= 0 and name.endswith(".weight"):
                found[name[at:].removesuffix(".weight")] = node
    return found


def largest_error(plain: ov.Model, changed: ov.Model, adapter: Adapter) -> float:
    """How far the matrices of a changed graph are from the exact sums, relative to the largest number of each.

    Raises InvalidArtifact when a matrix was changed that the adapter does not name.
    """
    before, after = _constants(plain), _constants(changed)
    worst = 0.0
    for name, node in before.items():
        old, new = np.asarray(node.get_data()), np.asarray(after[name].get_data())
        if name in adapter.changes:
            exact = old.astype(np.float64) + adapter.delta(name, old.shape)
            worst = max(worst, float(np.abs(new - exact).max() / max(np.abs(exact).max(), 1e-12)))
        elif not np.array_equal(old, new):
            raise InvalidArtifact(f"The adapter changed {name!r}, which it does not name.")
    return worst

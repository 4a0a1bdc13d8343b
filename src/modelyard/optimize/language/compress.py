"""Weights of a decoder in 8 or 4 bits with scales: the graph multiplies them back, which OpenVINO fuses into its products as it compiles.

Matrices that turn tokens into numbers, and numbers into tokens, keep 8 bits: they are read by all that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

_PLACES = {"MatMul": 1, "Gather": 0}
"""Operator → which of its inputs may be weights."""
_FLOATS = ("f16", "f32", "bf16")
_FEWEST = 1024
"""Weights of a matrix that is worth it."""


@dataclass(frozen=True)
class Compression:
    """How weights are kept."""

    bits: int
    block: int = 0
    """Weights in a row that share a scale; 0 for the whole row."""


@dataclass(frozen=True)
class _Matrix:
    """A constant ``[rows, summed]`` and what reads it."""

    constant: Any
    readers: tuple[tuple[Any, int], ...]

    @property
    def speaks(self) -> bool:
        """Whether it belongs to tokens: looked up in, or the last product."""
        return any(node.get_type_name() == "Gather" or _last(node) for node, _ in self.readers)


def compress(model: ov.Model, wanted: Compression) -> dict[str, int]:
    """Changes the model; how many matrices keep how many bits, like ``{"int8": 2, "int4": 21}``."""
    counts: dict[str, int] = {}
    for matrix in _matrices(model):
        weights = matrix.constant.get_data(dtype=np.float32)
        fits = wanted.bits == 4 and not matrix.speaks and weights.shape[1] % wanted.block == 0
        made = _four_bits(weights, wanted.block) if fits else _eight_bits(weights)
        for node, place in matrix.readers:
            node.input(place).replace_source_output(made.output(0))
        kind = "int4" if fits else "int8"
        counts[kind] = counts.get(kind, 0) + 1
    model.validate_nodes_and_infer_types()
    return counts


def _matrices(model: ov.Model) -> list[_Matrix]:
    """Of floats that are summed along their rows, in the graph's order, each once."""
    found: dict[str, tuple[Any, list[tuple[Any, int]]]] = {}
    for node in model.get_ordered_ops():
        place = _PLACES.get(node.get_type_name())
        if place is None or (node.get_type_name() == "MatMul" and not node.get_attributes()["transpose_b"]):
            continue
        constant = _constant(node.input_value(place).get_node())
        if constant is not None:
            found.setdefault(constant.get_name(), (constant, []))[1].append((node, place))
    return [_Matrix(constant, tuple(readers)) for constant, readers in found.values()]


def _constant(node: Any) -> Any:
    """The matrix of floats that a node is, or converts."""
    source = node.input_value(0).get_node() if node.get_type_name() == "Convert" else node
    if source.get_type_name() != "Constant" or source.get_element_type().get_type_name() not in _FLOATS:
        return None
    shape = list(source.get_output_shape(0))
    return source if len(shape) == 2 and shape[0] * shape[1] >= _FEWEST else None


def _last(node: Any) -> bool:
    """Whether an output of the model follows, through nothing that computes."""
    readers = [port.get_node() for port in node.output(0).get_target_inputs()]
    return any(reader.get_type_name() == "Result" or (reader.get_type_name() == "Convert" and _last(reader)) for reader in readers)


def _eight_bits(weights: NDArray[np.float32]) -> Any:
    scale = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-12) / 127
    whole = np.rint(weights / scale).astype(np.int8)
    return op.multiply(op.convert(op.constant(whole), "f32"), op.constant(scale.astype(np.float32)))


def _four_bits(weights: NDArray[np.float32], block: int) -> Any:
    """The largest of each block becomes -8, so that all sixteen steps are of use."""
    rows, summed = weights.shape
    blocks = weights.reshape(rows, summed // block, block)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[:, :, None], axis=2)
    scale = np.where(largest == 0, 1.0, largest / -8).astype(np.float32)
    whole = np.clip(np.rint(blocks / scale), -8, 7).astype(np.int8).astype(np.uint8) & 15
    flat = whole.reshape(-1)
    packed = flat[0::2] | (flat[1::2] << 4)
    constant = op.constant(ov.Tensor(packed, ov.Shape(list(blocks.shape)), ov.Type.i4))
    spread = op.multiply(op.convert(constant, "f32"), op.constant(scale))
    return op.reshape(spread, op.constant(np.array([rows, summed], np.int64)), special_zero=False)

"""The constant weights of a graph's matrix products and convolutions: what passes over weights change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

Weights = NDArray[np.floating]
_PLACES: Mapping[str, tuple[int, ...]] = {"MatMul": (0, 1), "Gemm": (1,), "Conv": (1,), "ConvTranspose": (1,)}
"""Operator → which of its inputs may be weights."""
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
TREES = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})


@dataclass(frozen=True)
class Layer:
    """One tensor of weights, and how it is used."""

    tensor: TensorProto
    """Itself: changing it changes the graph."""
    node: NodeProto
    """The first that reads it."""
    output_axis: int
    """Along it lies one entry for each number that the layer gives; along all others it is summed."""


def weight_tensors(graph: GraphProto) -> list[TensorProto]:
    """The tensors themselves, each once, in the graph's order."""
    return [layer.tensor for layer in layers(graph)]


def layers(graph: GraphProto) -> list[Layer]:
    """Every tensor of weights once, in the graph's order. One dimension (a bias) is no weight."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    given = {value.name for value in graph.input}  # a caller may replace an initializer that is an input, too
    found: dict[str, Layer] = {}
    for node in graph.node:
        for place in _PLACES.get(node.op_type, ()):
            name = node.input[place] if place < len(node.input) else ""
            tensor = constants.get(name)
            if tensor is not None and name not in given and tensor.data_type in _FLOATS and len(tensor.dims) > 1:
                found.setdefault(name, Layer(tensor, node, _output_axis(node, place, len(tensor.dims))))
    return list(found.values())


def _output_axis(node: NodeProto, place: int, rank: int) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if turned else 1
    return rank - 1 if place == 1 else rank - 2


def why_no_weights(model: ModelProto) -> str:
    """Why there is nothing to change; empty when there is."""
    if weight_tensors(model.graph):
        return ""
    kinds = {node.op_type for node in model.graph.node}
    if trees := sorted(TREES & kinds):
        return f"it is a tree ensemble ({', '.join(trees)}), which has no matrix weights"
    if "QuantizeLinear" in kinds or any(kind.endswith("Integer") for kind in kinds):
        return "its weights are whole numbers already; apply this pass before int8"
    return "it has no matrix product or convolution with constant weights of floating point"


def with_weights(model: ModelProto, change: Callable[[list[Weights]], list[Weights]]) -> ModelProto:
    """A copy whose weights are what ``change`` makes of them."""
    copy = ModelProto()
    copy.CopyFrom(model)
    tensors = weight_tensors(copy.graph)
    changed = change([numpy_helper.to_array(tensor) for tensor in tensors])
    for tensor, values in zip(tensors, changed, strict=True):
        name, kind = tensor.name, tensor.data_type
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
        if tensor.data_type != kind:
            raise TypeError(f"A pass changed the type of {name!r}.")
    return copy

"""The constant weights of a graph's matrix products and convolutions: what passes over weights change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

Weights = NDArray[np.floating]
_PLACES: Mapping[str, tuple[int, ...]] = {"MatMul": (0, 1), "Gemm": (1,), "Conv": (1,), "ConvTranspose": (1,)}
"""Operator → which of its inputs may be weights."""
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
TREES = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})


def weight_tensors(graph: GraphProto) -> list[TensorProto]:
    """The tensors themselves, each once, in the graph's order: changing one changes the graph. One dimension (a bias) is no weight."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    given = {value.name for value in graph.input}  # a caller may replace an initializer that is an input, too
    found: dict[str, TensorProto] = {}
    for node in graph.node:
        for place in _PLACES.get(node.op_type, ()):
            name = node.input[place] if place < len(node.input) else ""
            tensor = constants.get(name)
            if tensor is not None and name not in given and tensor.data_type in _FLOATS and len(tensor.dims) > 1:
                found[name] = tensor
    return list(found.values())


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

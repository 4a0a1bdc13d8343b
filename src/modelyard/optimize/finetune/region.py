"""Which part of a graph can be learned anew: what lies between its weights and its answers. Free of PyTorch.

What comes before the first weights (fills, scales, categories of words) is computed by ONNX Runtime as it is; what comes after the numbers
that are answered (the words of labels) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnxruntime as ort
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from modelyard.core.tensors import Array
from modelyard.optimize.weights import layers, why_no_weights

# fmt: off
OPERATORS = frozenset({
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "Div", "Dropout", "Elu", "Erf", "Exp", "Flatten",
    "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Log",
    "LogSoftmax", "MatMul", "MaxPool", "Mul", "Neg", "Pow", "ReduceMean", "Relu", "Reshape", "Selu", "Sigmoid", "Softmax", "Softplus",
    "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
})
# fmt: on
_ADDED = frozenset({"Gemm", "Conv"})
_NORMS = frozenset({"BatchNormalization", "LayerNormalization"})
_FLOATS = (TensorProto.FLOAT,)


@dataclass(frozen=True)
class Region:
    """What is learned anew."""

    nodes: list[NodeProto]
    """In their order."""
    given: list[str]
    """Tensors that the nodes read and others make; the first dimension of each counts rows."""
    answers: list[str]
    """The graph's outputs that it makes: numbers."""
    constants: Mapping[str, Array]
    learned: list[str]
    """The constants that change: weights, biases, scales and shifts of norms."""


def region_of(model: ModelProto) -> Region:
    """The whole of what a graph's weights have a say in."""
    graph, constants = model.graph, _fixed(model)
    weights = {layer.tensor.name for layer in layers(graph)}
    reached: set[str] = set()
    inside: list[NodeProto] = []
    for node in graph.node:
        if any(name in weights or name in reached for name in node.input):
            reached.update(node.output)
            inside.append(node)
    answers = [value.name for value in graph.output if value.name in reached and value.type.tensor_type.elem_type in _FLOATS]
    needed, kept = set(answers), []
    for node in reversed(inside):
        if needed.isdisjoint(node.output):
            continue
        kept.append(node)
        needed.update(node.input)
    made = {name for node in kept for name in node.output}
    given = [
        name for name in dict.fromkeys(name for node in kept[::-1] for name in node.input if name) if name not in made | set(constants)
    ]
    return Region(kept[::-1], given, answers, constants, _learned(kept[::-1], weights, constants_of(graph)))


def why_not(model: ModelProto) -> str:
    """Why a model cannot be learned anew; empty when it can."""
    if reason := why_no_weights(model):
        return reason
    found = region_of(model)
    if not found.answers:
        return "its weights have no say in any output of 32-bit floating point"
    for node in found.nodes:
        if node.op_type not in OPERATORS or node.domain not in {"", "ai.onnx"}:
            name = f" (the node {node.name!r})" if node.name else ""
            return f"fine-tuning does not know the operator {node.op_type}{name}"
        if _text(node, "auto_pad") not in {"", "NOTSET", "VALID"}:
            return f"fine-tuning does not know the padding {_text(node, 'auto_pad')} of {node.op_type}; export it with explicit pads"
    return ""


def constants_of(graph: GraphProto) -> dict[str, Array]:
    """Every constant by name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _fixed(model: ModelProto) -> dict[str, Array]:
    """Constants, and what is computed from nothing else."""
    found = constants_of(model.graph)
    varies = {value.name for value in model.graph.input} | {""}
    folded: list[str] = []
    for node in model.graph.node:
        known = [name in found or name in folded for name in node.input]
        if (
            node.op_type != "Constant"
            and known
            and all(known)
            and not varies & set(node.input)
            and not any(attribute.HasField("g") for attribute in node.attribute)
        ):
            folded += node.output
    if folded:
        copy = ModelProto()
        copy.CopyFrom(model)
        del copy.graph.output[:], copy.graph.input[:]
        needed, nodes = set(folded), []
        for node in reversed(model.graph.node):
            if needed & set(node.output):
                needed.update(node.input)
                nodes.append(node)
        del copy.graph.node[:]
        copy.graph.node.extend(nodes[::-1])
        copy.graph.output.extend([ValueInfoProto(name=name) for name in folded])
        session = ort.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
        found |= dict(zip(folded, session.run(folded, {}), strict=True))
    return found


def _learned(nodes: list[NodeProto], weights: set[str], constants: Mapping[str, Array]) -> list[str]:
    products = {node.output[0] for node in nodes if node.op_type == "MatMul"}
    found: list[str] = []
    for node in nodes:
        names = [name for name in node.input if name in weights]
        if node.op_type in _ADDED:
            names += node.input[2:3]
        elif node.op_type in _NORMS:
            names += node.input[1:3]
        elif node.op_type == "Add" and products & set(node.input):
            names += node.input
        found += [name for name in names if name in constants and constants[name].dtype == "float32"]
    return list(dict.fromkeys(found))


def _text(node: NodeProto, name: str) -> str:
    return next((attribute.s.decode() for attribute in node.attribute if attribute.name == name), "")

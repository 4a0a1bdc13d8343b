"""Graphs in the making, whatever they are of: nodes and constants, and the outputs that all classifiers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

IR_VERSION = 10


class Parts:
    """Nodes and constants of a graph being built. Inner names begin with a prefix that no column's name begins with."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.prefix = "modelyard."
        while any(name.startswith(self.prefix) for name in columns):
            self.prefix += "."

    def constant(self, name: str, value: NDArray[Any]) -> str:
        full = f"{self.prefix}{name}"
        if value.dtype == object:
            words: Any = [str(item).encode() for item in value.ravel()]
            self.constants.append(helper.make_tensor(full, TensorProto.STRING, value.shape, words))
        else:
            self.constants.append(numpy_helper.from_array(value, full))
        return full

    def node(self, kind: str, inputs: Sequence[str], output: str, *, domain: str = "", own_name: bool = False, **attributes: Any) -> str:
        """Adds a node; its output's name. ``own_name`` takes ``output`` as it is: for the graph's outputs."""
        name = output if own_name else f"{self.prefix}{output}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{self.prefix}{output}.{kind}", domain=domain, **attributes))
        return name


def needed_nodes(nodes: Sequence[NodeProto], output: str) -> tuple[list[NodeProto], set[str]]:
    """The nodes that an output needs, in order, and every name they read: a converter's own labels are computed anew here."""
    wanted = {output}
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if wanted.isdisjoint(node.output):
            continue
        kept.append(node)
        wanted.update(node.input)
        for attribute in node.attribute:
            # A subgraph may read any name of the graph around it.
            wanted.update(name for inner in attribute.g.node for name in inner.input)
    return kept[::-1], wanted


def class_outputs(parts: Parts, probabilities: str, values: NDArray[np.generic]) -> list[Any]:
    """``label`` ``[rows]`` and ``probabilities`` ``[rows, classes]``; ``values`` are the classes, whole numbers or words."""
    parts.node("Identity", [probabilities], "probabilities", own_name=True)
    place = parts.node("ArgMax", [probabilities], "place", axis=1, keepdims=0)
    parts.node("Gather", [parts.constant("classes", values), place], "label", own_name=True)
    label_type = TensorProto.INT64 if values.dtype == np.int64 else TensorProto.STRING
    return [
        helper.make_tensor_value_info("label", label_type, ["rows"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(values)]),
    ]

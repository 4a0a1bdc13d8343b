"""Which hidden channels of a graph can be taken out of it, and taking them out.

A layer's output channels can go when everything that reads them, through operators that treat each channel by itself, ends in layers that
sum over channels: then the channels' weights go on both sides, and what is left is the same graph with smaller matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

# fmt: off
ALONE = frozenset({
    "Abs", "Cast", "Celu", "Clip", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Log", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu",
})
# fmt: on
"""Operators that treat every number by itself."""
POOLS = frozenset(["MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"])
BY_CHANNEL = frozenset(["Add", "Sub", "Mul", "Div", "PRelu"])
"""Operators that are one when their other operand is constant."""
Axis = tuple[str, int]
"""A constant's name and one of its axes."""


class _Stop(Exception):
    """The channels reach something that needs all of them."""


@dataclass
class Group:
    """Channels that can only go together with all that hangs on them."""

    producer: str
    """Name of the weights that make them."""
    count: int
    gives: list[Axis] = field(default_factory=list)
    """Axes along which each channel has one entry."""
    takes: list[Axis] = field(default_factory=list)
    """Axes of the weights that sum over the channels; each channel has ``length // count`` entries in a row."""
    depthwise: list[NodeProto] = field(default_factory=list)
    """Convolutions with one filter a channel, whose number of groups is the number of channels."""
    shapes: list[tuple[str, int]] = field(default_factory=list)
    """Constants with a flattened length, and where in them it stands."""


class Layout:
    """A graph with its constants by name and its readers by tensor."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.constants: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        for value in graph.input:  # a caller may replace an initializer that is an input, too
            self.constants.pop(value.name, None)
        self.outputs = {value.name for value in graph.output}
        self.readers: dict[str, list[tuple[NodeProto, int]]] = {}
        for node in graph.node:
            for place, name in enumerate(node.input):
                self.readers.setdefault(name, []).append((node, place))

    def dims(self, name: str) -> list[int] | None:
        """The shape of a constant that only one operator reads; None for everything else."""
        tensor = self.constants.get(name)
        return list(tensor.dims) if tensor is not None and len(self.readers.get(name, ())) == 1 else None


def groups(graph: GraphProto) -> list[Group]:
    """All groups of the graph, in its order, of at least two channels."""
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return []  # branches and loops may read anything
    layout = Layout(graph)
    found, taken = [], set[Axis]()
    for node in graph.node:
        try:
            group = _group(layout, node)
        except _Stop:
            continue
        axes = {*group.gives, *group.takes}
        if group.takes and group.count > 1 and not axes & taken:
            taken |= axes
            found.append(group)
    return found


def _group(layout: Layout, node: NodeProto) -> Group:
    """The channels that a node makes. Raises _Stop."""
    dims = layout.dims(node.input[1]) if node.op_type in {"MatMul", "Gemm", "Conv"} else None
    if dims is None or len(dims) < 2 or (node.op_type == "MatMul" and len(dims) != 2) or _number(node, "group", 1) != 1:
        raise _Stop
    axis = {"MatMul": 1, "Gemm": 0 if _number(node, "transB", 0) else 1, "Conv": 0}[node.op_type]
    group = Group(node.input[1], dims[axis], gives=[(node.input[1], axis)])
    rank = len(dims) if node.op_type == "Conv" else 0
    if len(node.input) > 2 and node.input[2]:
        _beside(layout, group, node.input[2], 0)
    _Walk(layout, group, batch_norm=node.op_type != "MatMul").follow(node.output[0], rank)
    return group


@dataclass
class _Walk:
    """Follows channels from where they are made to all that sums over them."""

    layout: Layout
    group: Group
    batch_norm: bool
    flat: bool = False
    """Whether each channel has become several numbers in a row."""

    def follow(self, name: str, rank: int) -> None:
        """``rank`` is that of a picture, with channels second; 0 says that channels are last. Raises _Stop."""
        if name in self.layout.outputs:
            raise _Stop
        for node, place in self.layout.readers.get(name, ()):
            self._reader(node, place, rank)

    def _reader(self, node: NodeProto, place: int, rank: int) -> None:
        kind, sums = node.op_type, {"MatMul": 0, "Gemm": 0 if not _number(node, "transA", 0) else -1, "Conv": 0}
        if (kind in ALONE and place == 0) or (kind in POOLS and rank and len(node.output) == 1):
            self.follow(node.output[0], rank)
        elif kind in BY_CHANNEL and not self.flat:
            _beside(self.layout, self.group, node.input[1 - place], rank)
            self.follow(node.output[0], rank)
        elif kind == "BatchNormalization" and place == 0 and self.batch_norm and not self.flat:
            for name in node.input[1:5]:
                self._along(name, 0)
            self.follow(node.output[0], rank)
        elif kind in {"Flatten", "Reshape"} and rank and place == 0:
            self._flatten(node)
        elif kind == "Conv" and rank and _number(node, "group", 1) == self.group.count and self.group.count > 1:
            self._depthwise(node, rank)
        elif sums.get(kind) == place and (kind == "Conv") == bool(rank):
            self._sum(node)
        else:
            raise _Stop

    def _along(self, name: str, axis: int) -> None:
        dims = self.layout.dims(name)
        if dims is None or dims[axis] != self.group.count:
            raise _Stop
        self.group.gives.append((name, axis))

    def _depthwise(self, node: NodeProto, rank: int) -> None:
        for name in node.input[1:]:
            self._along(name, 0)
        self.group.depthwise.append(node)
        self.follow(node.output[0], rank)

    def _flatten(self, node: NodeProto) -> None:
        if node.op_type == "Flatten":
            if _number(node, "axis", 1) != 1:
                raise _Stop
        else:
            dims = self.layout.dims(node.input[1])
            shape = numpy_helper.to_array(self.layout.constants[node.input[1]]).tolist() if dims == [2] else []
            if len(shape) != 2 or (shape[0] != -1 and shape[1] != -1) or _number(node, "allowzero", 0):
                raise _Stop
            if shape[1] != -1:
                self.group.shapes.append((node.input[1], 1))
        self.flat, self.batch_norm = True, False
        self.follow(node.output[0], 0)

    def _sum(self, node: NodeProto) -> None:
        dims = self.layout.dims(node.input[1])
        axis = {"MatMul": 0, "Gemm": 1 if _number(node, "transB", 0) else 0, "Conv": 1}[node.op_type]
        if dims is None or (node.op_type == "MatMul" and len(dims) != 2) or _number(node, "group", 1) != 1:
            raise _Stop
        if dims[axis] != self.group.count and not (self.flat and dims[axis] % self.group.count == 0):
            raise _Stop
        self.group.takes.append((node.input[1], axis))


def _beside(layout: Layout, group: Group, name: str, rank: int) -> None:
    """A constant that is added or multiplied: it has a number for each channel, or one for all. Raises _Stop."""
    tensor = layout.constants.get(name)
    if tensor is None:
        raise _Stop
    axis = len(tensor.dims) - (rank - 1 if rank else 1)
    if axis < 0 or tensor.dims[axis] == 1:
        return
    if tensor.dims[axis] != group.count or layout.dims(name) is None:
        raise _Stop
    group.gives.append((name, axis))


def remove(model: ModelProto, kept: Callable[[Group, NDArray[np.float64]], NDArray[np.intp]]) -> ModelProto:
    """A copy with fewer channels: ``kept`` says which of a group's channels stay, by their importance ``[count]``."""
    copy = ModelProto()
    copy.CopyFrom(model)
    layout = Layout(copy.graph)
    arrays = {name: numpy_helper.to_array(tensor) for name, tensor in layout.constants.items()}
    chosen = [(group, kept(group, importance(group, arrays))) for group in groups(copy.graph)]
    for group, stay in chosen:
        for name, at in group.shapes:
            arrays[name] = arrays[name].copy()
            arrays[name][at] = arrays[name][at] // group.count * len(stay)
        for name, axis in group.gives:
            arrays[name] = np.take(arrays[name], stay, axis)
        for name, axis in group.takes:
            each = arrays[name].shape[axis] // group.count
            arrays[name] = np.take(arrays[name], (stay[:, None] * each + np.arange(each)).ravel(), axis)
        for node in group.depthwise:
            _set_number(node, "group", len(stay))
    for name in {name for group, _ in chosen for name, _ in (*group.gives, *group.takes, *group.shapes)}:
        tensor = layout.constants[name]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(arrays[name]), tensor.name))
    del copy.graph.value_info[:]  # shapes of what lies between, as they were
    return copy


def importance(group: Group, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float64]:
    """For each channel the norm of the weights that make it times the norm of those that read it, ``[count]``.

    Scaling a channel up and its readers down, which changes no answer of a network of ReLUs, does not change it. (Norms of filters:
    Li et al., Pruning Filters for Efficient ConvNets, 2017.)
    """
    made = _norms(arrays[group.producer], dict(group.gives)[group.producer], group.count)
    read = np.sqrt(sum(_norms(arrays[name], axis, group.count) ** 2 for name, axis in group.takes))
    return np.asarray(made * read, np.float64)


def _norms(array: NDArray[np.generic], axis: int, count: int) -> NDArray[np.float64]:
    rows = np.moveaxis(array.astype(np.float64), axis, 0)
    return np.asarray(np.linalg.norm(rows.reshape(count, -1), axis=1))


def _number(node: NodeProto, name: str, otherwise: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), otherwise)


def _set_number(node: NodeProto, name: str, value: int) -> None:
    for attribute in node.attribute:
        if attribute.name == name:
            attribute.CopyFrom(helper.make_attribute(name, value))

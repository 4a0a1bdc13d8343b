"""One ONNX graph from raw columns to the prediction: preparation, family, and the target's scale or the classes' names.

Inputs: one tensor ``[-1, 1]`` a raw column, FP32 (missing is NaN) or BYTES (missing is ``""``). Outputs: ``label`` ``[-1]`` and
``probabilities`` ``[-1, C]``, or ``prediction`` ``[-1, 1]``. Equal models give equal bytes: nothing here is random or dated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, compose, helper, numpy_helper

from modelyard.datasets.prepare import CategorySteps, NumberSteps
from modelyard.train.model import Scale, TrainedModel
from modelyard.train.problem import Problem, Task
from modelyard.train.trainers.base import OPSETS

_IR_VERSION = 10
_ML = "ai.onnx.ml"


class _Parts:
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


def build_graph(model: TrainedModel, problem: Problem, family: str, columns: Sequence[Mapping[str, Any]]) -> ModelProto:
    """The whole graph. ``columns`` are the inputs' docs, kept in the metadata."""
    names = problem.features.names
    parts = _Parts(names)
    features = _preparation(parts, model)
    core, core_output = model.fitted.graph()
    # The family's own names could be a column's: all of them get a prefix.
    core = compose.add_prefix(core, f"{parts.prefix}model.")
    core_output = f"{parts.prefix}model.{core_output}"
    parts.node("Identity", [features], "model.features")
    nodes, needed = _needed(core.graph.node, core_output)
    parts.nodes.extend(nodes)
    parts.constants.extend(constant for constant in core.graph.initializer if constant.name in needed)
    outputs = _classes(parts, core_output, problem) if problem.task is Task.CLASSIFICATION else _quantity(parts, core_output, model.scale)
    inputs = [
        helper.make_tensor_value_info(column.name, TensorProto.FLOAT if column.is_number else TensorProto.STRING, ["rows", 1])
        for column in problem.features
    ]
    graph = helper.make_graph(parts.nodes, "modelyard", inputs, outputs, initializer=parts.constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    built = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="modelyard")
    _describe(built, problem, family, columns)
    checker.check_model(built)
    return built


def _needed(nodes: Sequence[NodeProto], output: str) -> tuple[list[NodeProto], set[str]]:
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


def _preparation(parts: _Parts, model: TrainedModel) -> str:
    """The same steps as ``Preparation.transform``, operation by operation."""
    blocks: list[str] = []
    if model.preparation.numbers.names:
        blocks.append(_numbers(parts, model.preparation.numbers))
    blocks.extend(_category(parts, at, steps) for at, steps in enumerate(model.preparation.categories) if steps.values)
    return parts.node("Concat", blocks, "features", axis=1)


def _numbers(parts: _Parts, steps: NumberSteps) -> str:
    raw = parts.node("Concat", steps.names, "numbers", axis=1)
    missing = parts.node("IsNaN", [raw], "missing")
    filled = parts.node("Where", [missing, parts.constant("fill", steps.fill), raw], "filled")
    shifted = parts.node("Sub", [filled, parts.constant("shift", steps.shift)], "shifted")
    return parts.node("Mul", [shifted, parts.constant("factor", steps.factor)], "scaled")


def _category(parts: _Parts, at: int, steps: CategorySteps) -> str:
    words = steps.name
    if steps.fill:
        empty = parts.node("Equal", [words, parts.constant(f"empty{at}", np.array([""], object))], f"missing{at}")
        words = parts.node("Where", [empty, parts.constant(f"fill{at}", np.array([steps.fill], object)), words], f"filled{at}")
    places = parts.node("OneHotEncoder", [words], f"places{at}", domain=_ML, cats_strings=list(steps.values), zeros=1)
    return parts.node("Squeeze", [places, parts.constant(f"axis{at}", np.array([1], np.int64))], f"category{at}")


def _classes(parts: _Parts, probabilities: str, problem: Problem) -> list[Any]:
    parts.node("Identity", [probabilities], "probabilities", own_name=True)
    place = parts.node("ArgMax", [probabilities], "place", axis=1, keepdims=0)
    names = parts.constant("classes", problem.class_values())
    parts.node("Gather", [names, place], "label", own_name=True)
    label_type = TensorProto.INT64 if problem.integer_classes else TensorProto.STRING
    return [
        helper.make_tensor_value_info("label", label_type, ["rows"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(problem.classes)]),
    ]


def _quantity(parts: _Parts, scaled: str, scale: Scale) -> list[Any]:
    column = parts.node("Reshape", [scaled, parts.constant("column", np.array([-1, 1], np.int64))], "score")
    times = parts.node("Mul", [column, parts.constant("deviation", np.array([scale.deviation], np.float32))], "wide")
    parts.node("Add", [times, parts.constant("mean", np.array([scale.mean], np.float32))], "prediction", own_name=True)
    return [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["rows", 1])]


def _describe(model: ModelProto, problem: Problem, family: str, columns: Sequence[Mapping[str, Any]]) -> None:
    """What a reader of the file alone should know."""
    facts = {
        "modelyard.task": str(problem.task),
        "modelyard.family": family,
        "modelyard.target": problem.target,
        "modelyard.columns": json.dumps(list(columns), ensure_ascii=False, sort_keys=True),
    }
    if problem.classes:
        facts["modelyard.classes"] = json.dumps(list(problem.classes), ensure_ascii=False)
    helper.set_model_props(model, facts)

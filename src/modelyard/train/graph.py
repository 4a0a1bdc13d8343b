"""One ONNX graph from raw columns to the prediction: preparation, family, and the target's scale or the classes' names.

Inputs: one tensor ``[-1, 1]`` a raw column, FP32 (missing is NaN) or BYTES (missing is ``""``). Outputs: ``label`` ``[-1]`` and
``probabilities`` ``[-1, C]``, or ``prediction`` ``[-1, 1]``. Equal models give equal bytes: nothing here is random or dated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, compose, helper

from modelyard.datasets.prepare import CategorySteps, NumberSteps
from modelyard.train.model import Scale, TrainedModel
from modelyard.train.parts import IR_VERSION, Parts, class_outputs, needed_nodes
from modelyard.train.problem import Problem, Task
from modelyard.train.trainers.base import OPSETS

_ML = "ai.onnx.ml"


def build_graph(model: TrainedModel, problem: Problem, family: str, columns: Sequence[Mapping[str, Any]]) -> ModelProto:
    """The whole graph. ``columns`` are the inputs' docs, kept in the metadata."""
    names = problem.features.names
    parts = Parts(names)
    features = _preparation(parts, model)
    core, core_output = model.fitted.graph()
    # The family's own names could be a column's: all of them get a prefix.
    core = compose.add_prefix(core, f"{parts.prefix}model.")
    core_output = f"{parts.prefix}model.{core_output}"
    parts.node("Identity", [features], "model.features")
    nodes, needed = needed_nodes(core.graph.node, core_output)
    parts.nodes.extend(nodes)
    parts.constants.extend(constant for constant in core.graph.initializer if constant.name in needed)
    outputs = (
        class_outputs(parts, core_output, problem.class_values())
        if problem.task is Task.CLASSIFICATION
        else _quantity(parts, core_output, model.scale)
    )
    inputs = [
        helper.make_tensor_value_info(column.name, TensorProto.FLOAT if column.is_number else TensorProto.STRING, ["rows", 1])
        for column in problem.features
    ]
    graph = helper.make_graph(parts.nodes, "modelyard", inputs, outputs, initializer=parts.constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    built = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="modelyard")
    _describe(built, problem, family, columns)
    checker.check_model(built)
    return built


def _preparation(parts: Parts, model: TrainedModel) -> str:
    """The same steps as ``Preparation.transform``, operation by operation."""
    blocks: list[str] = []
    if model.preparation.numbers.names:
        blocks.append(_numbers(parts, model.preparation.numbers))
    blocks.extend(_category(parts, at, steps) for at, steps in enumerate(model.preparation.categories) if steps.values)
    return parts.node("Concat", blocks, "features", axis=1)


def _numbers(parts: Parts, steps: NumberSteps) -> str:
    raw = parts.node("Concat", steps.names, "numbers", axis=1)
    missing = parts.node("IsNaN", [raw], "missing")
    filled = parts.node("Where", [missing, parts.constant("fill", steps.fill), raw], "filled")
    shifted = parts.node("Sub", [filled, parts.constant("shift", steps.shift)], "shifted")
    return parts.node("Mul", [shifted, parts.constant("factor", steps.factor)], "scaled")


def _category(parts: Parts, at: int, steps: CategorySteps) -> str:
    words = steps.name
    if steps.fill:
        empty = parts.node("Equal", [words, parts.constant(f"empty{at}", np.array([""], object))], f"missing{at}")
        words = parts.node("Where", [empty, parts.constant(f"fill{at}", np.array([steps.fill], object)), words], f"filled{at}")
    places = parts.node("OneHotEncoder", [words], f"places{at}", domain=_ML, cats_strings=list(steps.values), zeros=1)
    return parts.node("Squeeze", [places, parts.constant(f"axis{at}", np.array([1], np.int64))], f"category{at}")


def _quantity(parts: Parts, scaled: str, scale: Scale) -> list[Any]:
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

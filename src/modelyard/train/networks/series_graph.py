"""One ONNX graph from raw windows to forecasts or labels, and the proof that it answers as the network it was made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, compose, helper
from torch import nn

from modelyard.datasets.table import Rows
from modelyard.train.networks.export import OPSET, to_onnx
from modelyard.train.networks.series_data import SeriesProblem
from modelyard.train.parts import IR_VERSION, Parts, class_outputs, needed_nodes
from modelyard.train.proof import open_graph

_MOST_ROWS = 2_000
_AT_ONCE = 256
_SINGLE_ROWS = 16
_CLOSE = 1e-3
"""The largest difference, in deviations of what is predicted: sums are made in another order."""


def build_series_graph(module: nn.Module, problem: SeriesProblem, title: str) -> ModelProto:
    """The whole graph; its inputs are the columns, FP32 ``[rows, window]``, and ``[rows, window + horizon]`` for known ones."""
    sample = problem.inputs(problem.windows.train[:2])
    parts = Parts(problem.columns)
    core = compose.add_prefix(to_onnx(module, [torch.from_numpy(column) for column in sample]), f"{parts.prefix}network.")
    for at, name in enumerate(problem.columns):
        parts.node("Identity", [name], f"network.input{at}")
    nodes, needed = needed_nodes(core.graph.node, f"{parts.prefix}network.scores")
    parts.nodes.extend(nodes)
    parts.constants.extend(constant for constant in core.graph.initializer if constant.name in needed)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", column.shape[1]])
        for name, column in zip(problem.columns, sample, strict=True)
    ]
    graph = helper.make_graph(parts.nodes, "modelyard", inputs, _outputs(parts, problem), initializer=parts.constants)
    opsets = [helper.make_opsetid(entry.domain, entry.version) for entry in core.opset_import if entry.domain]
    built = helper.make_model(
        graph, opset_imports=[*opsets, helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="modelyard"
    )
    helper.set_model_props(built, _facts(problem, title, [column.shape[1] for column in sample]))
    checker.check_model(built)
    return built


def _outputs(parts: Parts, problem: SeriesProblem) -> list[Any]:
    scores = f"{parts.prefix}network.scores"
    if problem.classes:
        return class_outputs(parts, parts.node("Softmax", [scores], "shares", axis=1), problem.class_values())
    parts.node("Identity", [scores], "prediction", own_name=True)
    shape: list[Any] = ["rows", problem.recipe.horizon] if problem.forecasts else ["rows", 1]
    return [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [*shape, *([problem.targets] if problem.targets > 1 else [])])]


def _facts(problem: SeriesProblem, title: str, lengths: list[int]) -> dict[str, str]:
    columns = [
        {"name": name, "kind": "series", "datatype": "FP32", "shape": [-1, length]}
        for name, length in zip(problem.columns, lengths, strict=True)
    ]
    facts = {
        "modelyard.task": f"series {problem.recipe.task}",
        "modelyard.target": json.dumps(list(problem.recipe.target), ensure_ascii=False),
        "modelyard.family": title,
        "modelyard.columns": json.dumps(columns, ensure_ascii=False, sort_keys=True),
    }
    return facts | ({"modelyard.classes": json.dumps(list(problem.classes), ensure_ascii=False)} if problem.classes else {})


@dataclass(frozen=True)
class SeriesProof:
    """What was compared and found."""

    holds: bool
    reason: str
    report: dict[str, Any]


def answers(module: nn.Module, problem: SeriesProblem, starts: Rows) -> NDArray[np.float64]:
    """What the trainer's own network gives for raw windows: forecasts, quantities, or probabilities."""
    found = []
    with torch.inference_mode():
        for at in range(0, len(starts), _AT_ONCE):
            given = module(*(torch.from_numpy(column) for column in problem.inputs(starts[at : at + _AT_ONCE])))
            found.append((torch.softmax(given, dim=1) if problem.classes else given).double().numpy())
    return np.concatenate(found)


def prove_series(graph: bytes, module: nn.Module, problem: SeriesProblem) -> SeriesProof:
    """Compares graph and network on held-out windows, on the same with a value missing, and row by row."""
    session = open_graph(graph)
    output = "probabilities" if problem.classes else "prediction"

    def ask(columns: list[NDArray[np.float32]]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = session.run([output], dict(zip(problem.columns, columns, strict=True)))[0].astype(np.float64)
        return found

    rows = problem.windows.test[:_MOST_ROWS]
    columns = problem.inputs(rows)
    wanted = answers(module, problem, rows)
    unit = 1.0 if problem.classes else float(np.std(wanted)) or 1.0
    together = ask(columns)
    singles = np.concatenate([ask([column[at : at + 1] for column in columns]) for at in range(min(len(rows), _SINGLE_ROWS))])
    damaged = [column.copy() for column in columns]
    for at, column in enumerate(damaged):
        column[at :: len(damaged), column.shape[1] // 2] = np.nan
    with torch.inference_mode():
        given = module(*(torch.from_numpy(column) for column in damaged))
        expected = (torch.softmax(given, dim=1) if problem.classes else given).double().numpy()
    report = {
        "rows": len(rows),
        "largest_difference": float(np.abs(together - wanted).max()) / unit,
        "damaged_difference": float(np.abs(ask(damaged) - expected).max()) / unit,
        "single_row_difference": float(np.abs(singles - together[: len(singles)]).max()) / unit,
    }
    told = {"largest_difference": "answers", "damaged_difference": "windows with a gap", "single_row_difference": "rows alone and together"}
    reasons = [f"{what} differ by {report[key]:.3g} deviations" for key, what in told.items() if not report[key] <= _CLOSE]
    return SeriesProof(not reasons, "; ".join(reasons), report | {"holds": not reasons})

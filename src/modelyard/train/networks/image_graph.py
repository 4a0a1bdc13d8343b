"""One ONNX graph from the bytes of an image to its class, and the proof that it answers as the network it was made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, checker, compose, helper
from torch import nn

from modelyard.train.networks.export import OPSET, to_onnx
from modelyard.train.networks.image_data import ImageProblem
from modelyard.train.networks.pixels import INPUT, Scaling, input_info, scaled
from modelyard.train.parts import IR_VERSION, Parts, class_outputs, needed_nodes
from modelyard.train.proof import open_graph

_ORIGINALS = 64
_MOST_ROWS = 2_000
_AT_ONCE = 128
_SINGLE_ROWS = 16
_CLOSE = 1e-3
"""The largest difference of a probability: sums are made in another order."""


def build_image_graph(module: nn.Module, problem: ImageProblem, scaling: Scaling, title: str) -> ModelProto:
    """The whole graph; its input is ``image``, UINT8 ``[rows, height, width, channels]``."""
    layout = problem.images.layout
    parts = Parts([INPUT])
    features = scaled(parts, layout, scaling)
    core = compose.add_prefix(to_onnx(module, [torch.zeros(2, layout.channels, layout.height, layout.width)]), f"{parts.prefix}network.")
    parts.node("Identity", [features], "network.input0")
    nodes, needed = needed_nodes(core.graph.node, f"{parts.prefix}network.scores")
    parts.nodes.extend(nodes)
    parts.constants.extend(constant for constant in core.graph.initializer if constant.name in needed)
    probabilities = parts.node("Softmax", [f"{parts.prefix}network.scores"], "shares", axis=1)
    outputs = class_outputs(parts, probabilities, problem.class_values())
    graph = helper.make_graph(parts.nodes, "modelyard", [input_info(layout)], outputs, initializer=parts.constants)
    opsets = [helper.make_opsetid(entry.domain, entry.version) for entry in core.opset_import if entry.domain] + [
        helper.make_opsetid("", OPSET)
    ]
    built = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="modelyard")
    facts = {
        "modelyard.task": "image classification",
        "modelyard.family": title,
        "modelyard.classes": json.dumps(list(problem.images.classes), ensure_ascii=False),
        "modelyard.columns": json.dumps([{"name": INPUT, "kind": "image", "datatype": "UINT8", "shape": _wanted(layout)}], sort_keys=True),
    }
    helper.set_model_props(built, facts)
    checker.check_model(built)
    return built


@dataclass(frozen=True)
class ImageProof:
    """What was compared and found."""

    holds: bool
    reason: str
    report: dict[str, Any]


def prove_images(graph: bytes, problem: ImageProblem, predicted: NDArray[np.float64]) -> ImageProof:
    """Compares the graph with the network's own prediction of the held-out images, given as they came and row by row, too."""
    session = open_graph(graph)
    classes = problem.class_values()

    def ask(images: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.float64]]:
        label, probabilities = session.run(["label", "probabilities"], {INPUT: images})
        return label, probabilities.astype(np.float64)

    rows = problem.test[:_MOST_ROWS]
    wanted = predicted[: len(rows)]
    pairs = [ask(problem.images.pixels[rows[at : at + _AT_ONCE]]) for at in range(0, len(rows), _AT_ONCE)]
    labels, together = (np.concatenate([pair[which] for pair in pairs]) for which in (0, 1))
    raw = np.concatenate([ask(problem.images.original(int(row))[None])[1] for row in rows[:_ORIGINALS]])
    singles = np.concatenate([ask(problem.images.pixels[row : row + 1])[1] for row in rows[:_SINGLE_ROWS]])
    report = {
        "rows": len(rows),
        "label_agreement": float(np.mean(labels == classes[wanted.argmax(axis=1)])),
        "largest_difference": float(np.abs(together - wanted).max()),
        "original_images": len(raw),
        "original_difference": float(np.abs(raw - wanted[: len(raw)]).max()),
        "single_row_difference": float(np.abs(singles - together[: len(singles)]).max()),
    }
    reasons = [
        f"{what} differ by {report[key]:.3g}"
        for key, what in (
            ("largest_difference", "probabilities"),
            ("original_difference", "images as they came"),
            ("single_row_difference", "rows alone and together"),
        )
        if not report[key] <= _CLOSE
    ]
    return ImageProof(not reasons, "; ".join(reasons), report | {"holds": not reasons})


def _wanted(layout: Any) -> list[int]:
    size = [-1, -1] if layout.mixed else [layout.height, layout.width]
    return [-1, *size, layout.channels]

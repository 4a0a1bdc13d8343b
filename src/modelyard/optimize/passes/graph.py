"""Graph optimization by ONNX Runtime, ahead of time, at the level whose result any machine and runtime can load."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import onnx
import onnxruntime as ort
from onnx import ModelProto

from modelyard.optimize.base import Work, check_no_argument

_ERRORS_ONLY = 3


class Graph:
    exact: ClassVar[bool] = True

    def supports(self, work: Work) -> str:
        return "" if work.model.graph.node else "it has no operators"

    def run(self, work: Work) -> ModelProto:
        options = ort.SessionOptions()
        # Higher levels fuse into operators of one processor; the file would be of use on this machine only.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.log_severity_level = _ERRORS_ONLY
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimized.onnx"
            options.optimized_model_filepath = str(path)
            ort.InferenceSession(work.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return onnx.load(path)


def read(argument: str) -> Graph:
    check_no_argument("graph", argument)
    return Graph()

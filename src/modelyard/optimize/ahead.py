"""Graph optimization by ONNX Runtime, done ahead of time and kept as a file."""

from __future__ import annotations

import tempfile
from enum import Enum
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import ModelProto

_ERRORS_ONLY = 3


class Target(Enum):
    """What the result is for: the further down, the more is fused, and the fewer can load it."""

    ANYTHING = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    """Standard operators only: any machine, any runtime."""
    RUNTIME = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    """ONNX Runtime's own fused operators too: any machine."""
    MACHINE = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    """Layouts of processors like this one's too."""


def optimized(model: ModelProto, target: Target) -> ModelProto:
    """A new model: constants folded, operators fused."""
    options = ort.SessionOptions()
    options.graph_optimization_level = target.value
    options.log_severity_level = _ERRORS_ONLY
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)

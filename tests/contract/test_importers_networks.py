"""The contract of formats that people bring, over networks: PyTorch and Keras."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import networks
from modelyard.core.signature import TensorSpec
from modelyard.testing.importer_contract import Case, ImporterContract, KeptContract

pytestmark = pytest.mark.usefixtures("quick_conversions")
PRELOADED = [
    "modelyard.importers.work",
    "modelyard.importers.torch_models",
    "modelyard.importers.keras_models",
    "onnxscript",
    "torch._dynamo",
    "onnxruntime",
]


def said(*texts):
    return {"signature": [msgspec.to_builtins(TensorSpec.parse(text)) for text in texts]}


class TestTorch(ImporterContract):
    """Rows are sequences; the example that is traced has another length than these."""

    @pytest.fixture(scope="class", params=["exported", "script", "module"])
    @classmethod
    def case(cls, request):
        rows = networks.sequences(6, 11)
        files = {
            "exported": lambda: {"model.pt2": networks.exported()},
            "script": lambda: {"model.pt": networks.scripted()},
            "module": lambda: {"reader.py": networks.MODULE, "weights.safetensors": networks.weights(networks.reader())},
        }[request.param]()
        wanted = networks.read(rows) if request.param != "script" else networks.slid(rows)
        return Case(
            importer="torch",
            files=files,
            inputs={"x": rows},
            outputs={"output": wanted},
            said={} if request.param == "exported" else said("x:FP32[-1,-1,4]"),
            main="weights.safetensors" if request.param == "module" else "",
        )


class TestKeptTorch(KeptContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls):
        rows = -np.ones((4, 3), np.float32)
        return Case(
            importer="torch",
            files={},
            inputs={},
            outputs={},
            said=said("x:FP32[-1,3]"),
            unsupported={"deciding.py": networks.DECIDING, "weights.safetensors": networks.weights(networks.deciding())},
            unsupported_reason="no exact ONNX export",
            unsupported_inputs={"x": rows},
            unsupported_outputs={"output": networks.decided(rows)},
        )


class TestKeras(ImporterContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls):
        inputs = {"steps": networks.sequences(6, 11), "facts": np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)}
        return Case(
            importer="keras",
            files={"model.keras": networks.keras_file(networks.keras_model())},
            inputs=inputs,
            outputs={"output": networks.keras_answer(networks.keras_model(), *inputs.values())},
            runs_code=False,
        )


class TestKeptKeras(KeptContract):
    """A layer that computes in the frequency domain, which the exporter does not know."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls):
        rows = networks.sequences(3, 16)[:, :, 0].copy()
        return Case(
            importer="keras",
            files={},
            inputs={},
            outputs={},
            runs_code=False,
            unsupported={"model.keras": networks.keras_file(networks.keras_unsayable())},
            unsupported_reason="no exact ONNX export|does not answer as the original",
            unsupported_inputs={"wave": rows},
            unsupported_outputs={"output": networks.keras_answer(networks.keras_unsayable(), rows)},
        )

import numpy as np
import pytest

import onnx_graphs
from modelyard.runtimes.detect import RUNTIMES
from modelyard.testing.runtime_contract import RuntimeContract, Sample


class TestOnnx(RuntimeContract):
    @pytest.fixture
    def runtime(self):
        return RUNTIMES.get("onnx")

    @pytest.fixture(params=["numbers", "text", "bfloat16"])
    def sample(self, request, tmp_path_factory):
        folder = tmp_path_factory.mktemp("artifact")
        path = folder / "model.onnx"
        if request.param == "numbers":
            onnx_graphs.adder(path, 1.5)
            x = np.arange(6, dtype=np.float32).reshape(3, 2)
            return Sample(folder, path.name, {"x": x}, {"y": x + 1.5})
        if request.param == "text":
            onnx_graphs.identity(path, "BYTES")
            x = np.array([["a", "é"], [b"b", ""], ["c", "long text"]], object)
            return Sample(folder, path.name, {"x": x}, {"y": np.array([["a", "é"], ["b", ""], ["c", "long text"]], object)})
        onnx_graphs.identity(path, "BF16")
        x = np.array([[1, 2.5], [-3, 0], [256, 0.5]], np.float32)
        return Sample(folder, path.name, {"x": x}, {"y": x})

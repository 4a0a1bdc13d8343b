import pickle

import msgspec
import numpy as np
import pytest

import estimators
import onnx_graphs
import text_models
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.runtimes.detect import RUNTIMES
from modelyard.runtimes.original import Settings
from modelyard.testing.over_socket import SocketRuntime
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


class TestOriginal(RuntimeContract):
    """scikit-learn's own answers, from an array and from a frame with texts."""

    @pytest.fixture
    def runtime(self):
        return RUNTIMES.get("original")

    @pytest.fixture(params=["array", "frame"])
    def sample(self, request, tmp_path_factory):
        folder = tmp_path_factory.mktemp("original")
        table = estimators.frame()[0][:3]
        if request.param == "array":
            content = estimators.unsupported()
            rows = table[["body mass", "bill.length"]].to_numpy(np.float32)
            inputs, framed = {"input": rows}, False
        else:
            content = pickle.dumps(estimators.pipeline())
            rows, inputs, framed = table, estimators.as_inputs(table), True
        model = pickle.loads(content)
        (folder / "model.pkl").write_bytes(content)
        specs = tuple(TensorSpec(name=name, datatype=_kind(array), shape=(-1, array.shape[1])) for name, array in inputs.items())
        outputs = (
            TensorSpec(name="label", datatype=Datatype.BYTES, shape=(-1,)),
            TensorSpec(name="probabilities", datatype=Datatype.FP64, shape=(-1, 2)),
        )
        settings = Settings(
            library="sklearn",
            entry="model.pkl",
            signature=Signature(inputs=specs, outputs=outputs),
            options={"framed": framed, "flat": False, "methods": {"label": "predict", "probabilities": "predict_proba"}},
        )
        (folder / "original.json").write_bytes(msgspec.json.encode(settings))
        return Sample(folder, "original.json", inputs, {"label": model.predict(rows), "probabilities": model.predict_proba(rows)})


def _kind(array):
    return Datatype.BYTES if array.dtype == object else Datatype.FP32


class TestText(RuntimeContract):
    @pytest.fixture
    def runtime(self):
        return RUNTIMES.get("hf_onnx")

    @pytest.fixture(params=["embed", "classify", "tag", "rerank"])
    def sample(self, request, tmp_path_factory):
        folder = tmp_path_factory.mktemp("text")
        texts = ["the cat", "", "anna sat in paris"]
        if request.param == "rerank":
            text_models.write(folder, {"task": "rerank", "activation": "none"}, pooled=True)
            pairs = ["cat [SEP] the cat", "cat [SEP]", "cat [SEP] anna sat in paris"]
            # The separator between two texts is a special token of the pair, here spelt out.
            scores = [text_models.vectors(pair).sum(axis=0)[0] for pair in pairs]
            inputs = {"query": np.array(["cat"] * 3, object), "text": np.array(texts, object)}
            outputs = {"score": np.array(scores, np.float32), "tokens": np.array([6, 4, 8])}
            return Sample(folder, "model.onnx", inputs, outputs)
        vectors = [text_models.vectors(text) for text in texts]
        tokens = np.array([4, 2, 6])
        inputs = {"text": np.array(texts, object)}
        if request.param == "embed":
            text_models.write(folder, {"task": "embed", "normalize": True})
            means = np.stack([rows.mean(axis=0) for rows in vectors])
            unit = means / np.linalg.norm(means, axis=1, keepdims=True)
            return Sample(folder, "model.onnx", inputs, {"embedding": unit, "tokens": tokens})
        if request.param == "classify":
            text_models.write(folder, {"task": "classify", "labels": ["a", "b", "c"], "activation": "sigmoid"}, pooled=True)
            return Sample(folder, "model.onnx", inputs, {"label": np.array(["a"] * 3, object), "tokens": tokens})
        text_models.write(folder, {"task": "tag", "labels": ["O", "B-NAME", "I-NAME"]})
        return Sample(folder, "model.onnx", inputs, {"tokens": tokens})


class TestOnnxInAReplica(TestOnnx):
    @pytest.fixture
    def runtime(self):
        return SocketRuntime(RUNTIMES.get("onnx"))


DOUBLER = """
from typing import Annotated
import numpy as np

class Model:
    def predict(self, x: Annotated[np.ndarray, "FP32[2]"], word: str) -> Annotated[np.ndarray, "FP32[2]"]:
        return x * 2 + len(word)
"""


class TestPython(RuntimeContract):
    @pytest.fixture
    def runtime(self):
        return RUNTIMES.get("python")

    @pytest.fixture
    def sample(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("artifact")
        (folder / "model.py").write_text(DOUBLER)
        x = np.arange(6, dtype=np.float32).reshape(3, 2)
        words = np.array(["", "a", "bc"], object)
        return Sample(folder, "model.py", {"x": x, "word": words}, {"output": x * 2 + np.array([[0], [1], [2]], np.float32)})


class TestPythonInAReplica(TestPython):
    @pytest.fixture
    def runtime(self):
        return SocketRuntime(RUNTIMES.get("python"))

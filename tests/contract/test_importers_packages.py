"""The contract of formats that people bring, over folders: TensorFlow SavedModels and MLflow models."""

from __future__ import annotations

import io
import json
import pickle

import joblib
import msgspec
import numpy as np
import pytest

import estimators
import hostile
import networks
from makers import files_of, make
from modelyard.core.signature import TensorSpec
from modelyard.testing.importer_contract import Case, ImporterContract, KeptContract, imported

pytestmark = pytest.mark.usefixtures("quick_conversions")
PRELOADED = [
    "modelyard.importers.work",
    "modelyard.importers.saved_models",
    "modelyard.importers.estimators",
    "mlflow.pyfunc",
    "onnxruntime",
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return make("saved_model", tmp_path_factory.mktemp("saved"), TF_CPP_MIN_LOG_LEVEL="2")


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    return make("mlflow_models", folder, MLFLOW_TRACKING_URI=f"sqlite:///{folder}/tracking.db")


class TestSavedModel(ImporterContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, saved):
        with np.load(saved / "averages.npz") as kept:
            arrays = dict(kept)
        return Case(
            importer="tensorflow",
            files=files_of(saved / "averages"),
            inputs={"steps": arrays["steps"], "shift": arrays["shift"]},
            outputs={"share": arrays["share"]},
            main="saved_model.pb",
        )


class TestKeptSavedModel(KeptContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, saved):
        return Case(
            importer="tensorflow",
            files={},
            inputs={},
            outputs={},
            unsupported=files_of(saved / "words"),
            unsupported_reason="no exact ONNX conversion",
            unsupported_inputs={"text": np.array(["a b", "one", ""], object)},
            unsupported_outputs={"words": np.array([2, 1, 0])},
        )


class TestMlflow(ImporterContract):
    """A flavor with a format of its own."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, logged):
        answers = pickle.loads((logged / "answers.pkl").read_bytes())
        rows = answers["rows"]
        return Case(
            importer="sklearn",
            files=files_of(logged / "fitted"),
            inputs={"high": rows[:, :1], "low": rows[:, 1:]},
            outputs={"label": answers["label"], "probabilities": answers["probabilities"]},
            main="model.pkl",
        )


class TestMlflowFunction(KeptContract):
    """Nothing but Python; without its requirements it runs in the platform's own environment."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, logged):
        files = files_of(logged / "function")
        return Case(
            importer="mlflow",
            files={},
            inputs={},
            outputs={},
            unsupported={path: content for path, content in files.items() if path != "requirements.txt"},
            unsupported_reason="served by MLflow only",
            unsupported_inputs={"high": np.array([[3.0], [1.0]]), "low": np.array([[1.0], [0.5]])},
            unsupported_outputs={"spread": np.array([2.0, 0.5]), "wide": np.array([True, False])},
        )


TRITON = """
name: "slider"
backend: "pytorch"
max_batch_size: 8
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 2 ] } ]
dynamic_batching { max_queue_delay_microseconds: 100 }
"""


class TestTriton(ImporterContract):
    """TorchScript, whose inputs and outputs only the repository's configuration names."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls):
        rows = networks.sequences(6, 11)
        return Case(
            importer="torch",
            files={"slider/config.pbtxt": TRITON.encode(), "slider/1/model.pt": networks.scripted()},
            inputs={"INPUT__0": rows},
            outputs={"OUTPUT__0": networks.slid(rows)},
            main="slider/1/model.pt",
        )


class TestMlserver(ImporterContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls):
        table = estimators.frame()[0][:20]
        settings = {"name": "gentoo", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}
        stream = io.BytesIO()
        joblib.dump(estimators.pipeline(), stream)
        return Case(
            importer="sklearn",
            files={"model-settings.json": json.dumps(settings).encode(), "model.joblib": stream.getvalue()},
            inputs=estimators.as_inputs(table),
            outputs={"label": estimators.pipeline().predict(table)},
            main="model.joblib",
        )


def test_a_mar_is_unpacked_and_what_it_serves_is_converted(tmp_path):
    """The archive as ``torch-model-archiver`` writes it; its handler is not run."""
    manifest = {"model": {"modelName": "slider", "serializedFile": "model.pt", "handler": "handler.py", "modelVersion": "1.0"}}
    members = {"MAR-INF/MANIFEST.json": json.dumps(manifest).encode(), "model.pt": networks.scripted(), "handler.py": b"raise SystemExit"}
    signature = [msgspec.to_builtins(TensorSpec.parse("x:FP32[-1,-1,4]"))]
    (made,) = imported(tmp_path, {"slider.mar": hostile.zipped(members)}, trust=True, signature=signature)
    assert made.part.kept["torchserve"] == {"modelName": "slider", "modelVersion": "1.0", "handler": "handler.py"}
    assert "handler.py" in made.outcome.notes[0]
    assert made.outcome.format == "onnx"

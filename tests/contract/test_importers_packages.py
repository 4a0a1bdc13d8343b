"""The contract of formats that people bring, over folders: TensorFlow SavedModels and MLflow models."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from makers import files_of, make
from modelyard.testing.importer_contract import Case, ImporterContract, KeptContract


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return make("saved_model", tmp_path_factory.mktemp("saved"), TF_CPP_MIN_LOG_LEVEL="2")


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    return make("mlflow_models", folder, MLFLOW_TRACKING_URI=f"sqlite:///{folder}/tracking.db")


class TestSavedModel(ImporterContract):
    @pytest.fixture
    def case(self, saved):
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
    @pytest.fixture
    def case(self, saved):
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

    @pytest.fixture
    def case(self, logged):
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

    @pytest.fixture
    def case(self, logged):
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

"""Models in a notebook's memory become versions with one call, whatever library made them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import catboost
import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression

import estimators
import networks
import onnx_graphs
from modelyard import Client, log_model
from modelyard.core.errors import InvalidRequest, JobFailed, Unsupported
from modelyard.testing.platform import RunningPlatform, running_platform


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("logged") / "home", workers=1) as platform:
        yield platform


@pytest.fixture(scope="module")
def client(platform: RunningPlatform) -> Iterator[Client]:
    with Client(platform.url, platform.admin_key, timeout=600) as client:
        yield client


def numbers():
    rows = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    return rows, (rows[:, 0] > 0).astype(int)


@pytest.mark.timeout(300)
def test_a_pipeline_becomes_a_version_with_its_metrics(platform, client, monkeypatch):
    monkeypatch.setenv("MODELYARD_URL", platform.url)
    monkeypatch.setenv("MODELYARD_KEY", platform.admin_key)
    table = estimators.frame()[0]
    version = log_model(estimators.pipeline(), "gentoo", sample=table[:50], metrics={"accuracy": 0.9}, tags={"from": "notebook"})
    assert (version.reference, version.artifact.format, version.metrics) == ("gentoo@1", "onnx", {"accuracy": 0.9})
    report = version.report["import"]
    assert report["proof"]["source"] == "the pusher's sample"
    assert 0 < report["after_us"] < report["before_us"]


@pytest.mark.timeout(300)
def test_labels_that_are_true_and_false_are_1_and_0(client):
    rows, wanted = numbers()
    version = client.log_model(LogisticRegression().fit(rows, wanted.astype(bool)), "positive", sample=rows[:50])
    assert version.report["import"]["proof"]["outputs"]["label"] == {"agreement": 1.0}
    assert version.signature.classes == ("False", "True")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost", "onnx"])
def test_files_that_hold_no_code_need_no_trust(client, library, tmp_path):
    rows, wanted = numbers()
    models = {
        "xgboost": lambda: xgboost.XGBClassifier(n_estimators=3).fit(rows, wanted),
        "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(rows, wanted),
        "catboost": lambda: catboost.CatBoostClassifier(iterations=3, verbose=0, allow_writing_files=False).fit(rows, wanted),
        "onnx": lambda: onnx.load(onnx_graphs.adder(tmp_path / "a.onnx", 1.0)),
    }
    version = client.log_model(models[library](), library)
    assert version.artifact.format == "onnx"
    assert version.lineage.source == ("push" if library == "onnx" else library)


@pytest.mark.timeout(300)
def test_a_module_keeps_its_rows_and_lengths_open(client):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sample = networks.sequences(5, 7)
        with pytest.raises(InvalidRequest, match="give a sample"):
            client.log_model(networks.reader(), "reader")
        with pytest.raises(JobFailed, match="--trust"):
            client.log_model(networks.reader(), "reader", sample=sample)
        version = client.log_model(networks.reader(), "reader", sample=sample, trust=True)
    assert version.signature.inputs[0].wire_shape == [-1, -1, 4]
    assert version.report["import"]["proof"]["source"] == "the pusher's sample"


def test_what_no_library_made_is_refused_with_advice(client):
    with pytest.raises(Unsupported, match="push a Python class"):
        client.log_model(object(), "thing")

"""Models that ONNX cannot say run with their own library in replica processes; models come from a tracking server by reference."""

from __future__ import annotations

import json
import linecache
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import estimators
from acceptance.test_kills import eventually
from makers import make
from makers.wheels import wheel
from modelyard import Client
from modelyard.core.errors import JobFailed, PermissionDenied
from modelyard.engines.confinement import why_not
from modelyard.testing.platform import RunningPlatform, running_platform
from servers.mlflow_tracking import tracking_server


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tracking_server(tmp_path_factory.mktemp("tracking")) as address:
        yield address


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, tracking: str) -> Path:
    return make("mlflow_models", tmp_path_factory.mktemp("tracked"), MLFLOW_TRACKING_URI=tracking)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, tracking: str) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("kept") / "home", workers=1) as platform:
        platform.environment["MLFLOW_TRACKING_URI"] = tracking
        yield platform


@pytest.fixture(scope="module")
def client(platform: RunningPlatform) -> Iterator[Client]:
    with Client(platform.url, platform.admin_key, timeout=600) as client:
        yield client


def call(platform: RunningPlatform, name: str, inputs: list[dict[str, object]]) -> dict[str, object]:
    headers = {"authorization": f"Bearer {platform.admin_key}"}
    reply = httpx.post(f"{platform.inference}/v2/models/{name}/infer", json={"inputs": inputs}, headers=headers, timeout=120)
    assert reply.status_code == 200, reply.text
    return {output["name"]: output["data"] for output in reply.json()["outputs"]}


@pytest.mark.timeout(400)
def test_an_estimator_without_a_converter_is_served_as_it_is_and_the_reason_is_shown(platform, client, tmp_path):
    path = tmp_path / "odd.pkl"
    path.write_bytes(estimators.unsupported())
    with pytest.raises((JobFailed, PermissionDenied), match="--trust"):
        client.push(path, "odd")
    printed = platform.run("push", str(path), "--name", "odd", "--trust").stdout
    assert "not converted: runs as it is in a replica process" in printed
    assert "no exact ONNX conversion: FunctionTransformer" in printed
    platform.run("deploy", "odd@1")
    rows = estimators.frame()[0][["body mass", "bill.length"]].to_numpy(np.float32)[:3]
    found = call(platform, "odd", [{"name": "input", "shape": [3, 2], "datatype": "FP32", "data": rows.ravel().tolist()}])
    assert set(found["label"]) <= {"Adelie", "Gentoo"}
    assert len(found["probabilities"]) == 6
    eventually(lambda: "Serves as process" in platform.run("logs", "odd").stdout, 30, "the deployment's log is shown")
    document = json.loads(platform.run("logs", "odd", "--json").stdout)
    assert "Serves as process" in document["logs"]["odd@1"]
    refused = platform.run("logs", "odd", "--version", "odd@7", check=False)
    assert "does not serve odd@7" in refused.stderr
    client.deployments.delete("odd")


@pytest.mark.timeout(400)
def test_a_reference_of_a_tracking_server_becomes_a_version_with_what_mlflow_kept(platform, client, tracked):
    platform.run("push", "models:/churn@champion", "--trust", "--tag", "team=crm")
    version = client.models.version("churn@1")
    assert version.artifact.format == "onnx"
    assert version.tags == {"mlflow": "models:/churn@champion", "team": "crm"}
    kept = version.lineage.detail["mlflow"]
    assert '"high"' in kept["signature"]["inputs"]
    assert "scikit-learn" in kept["environment"]["requirements.txt"]
    assert "input_example" in kept
    refused = platform.run("push", "models:/nothing/1", check=False)
    assert "cannot be fetched" in refused.stderr
    assert "Traceback" not in refused.stderr


def borrowed(folder: Path) -> str:
    """A requirement that brings what the tests have installed themselves, so that no index is asked for MLflow and pandas."""
    paths = [path for path in sys.path if path.endswith("site-packages")]
    return f"borrowed @ {wheel(folder, 'borrowed', {'borrowed.pth': chr(10).join(paths)}).as_uri()}"


@pytest.mark.timeout(400)
def test_a_function_of_mlflow_runs_in_a_replica_with_the_environment_that_it_brought(platform, client, tracked, tmp_path):
    (tracked / "function" / "requirements.txt").write_text(borrowed(tmp_path))
    version = client.push(tracked / "function", "spread", trust=True)
    assert version.artifact.format == "original"
    assert version.report["import"]["reason"]
    client.deploy("spread@1", timeout=240)
    columns = [
        {"name": name, "shape": [2, 1], "datatype": "FP64", "data": data} for name, data in (("high", [3.0, 1.0]), ("low", [1.0, 0.5]))
    ]
    assert call(platform, "spread", columns) == {"spread": [2.0, 0.5], "wide": [True, False]}
    log = platform.run("logs", "spread").stdout
    assert "Confined by Landlock" in log or why_not()
    (environment,) = (path for path in (platform.home / "cache" / "environments").iterdir() if (path / "modelyard-ready").exists())
    pid = int(re.search(r"Serves as process (\d+)", log)[1])
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(str(environment).encode())
    client.deployments.delete("spread")


@pytest.mark.timeout(400)
@pytest.mark.skipif(bool(why_not()), reason="this machine cannot confine")
def test_a_pickle_that_reads_whatever_file_a_call_names_reads_none_but_its_own(platform, client, tmp_path):
    """What it calls runs no program, so that it passes the scan and its trial; what a replica may open is all that holds it."""
    secret = tmp_path / "secret"
    secret.write_text("not yours\n")
    reads = CountVectorizer(preprocessor=linecache.getlines, tokenizer=list, token_pattern=None, lowercase=False)
    names = [json.__file__, str(secret), "no file"]
    model = make_pipeline(reads, LogisticRegression(C=100)).fit(names, ["open to it", "leaked", "nothing"])
    assert model.predict(names).tolist() == ["open to it", "leaked", "nothing"]
    path = tmp_path / "reading.pkl"
    path.write_bytes(pickle.dumps(model))
    printed = platform.run("push", str(path), "--name", "reading", "--trust").stdout
    assert "linecache.getlines" in printed  # its pusher is told
    client.deploy("reading@1", timeout=120)

    def said(name: object) -> object:
        return call(platform, "reading", [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [str(name)]}])["label"]

    assert said(json.__file__) == ["open to it"]
    assert said(secret) == said(platform.home / "modelyard.db") == said(f"/proc/{platform.process.pid}/environ") == ["nothing"]
    client.deployments.delete("reading")

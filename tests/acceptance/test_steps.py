"""Python functions before and after a model, attached to its deployment from the command line, a file, and the SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.testing.platform import RunningPlatform, running_platform

BEFORE = """
from typing import Annotated

import numpy as np


def parse(text: str) -> Annotated[np.ndarray, "FP64[2]"]:
    a, _, b = text.partition(" ")
    return np.array([float(a), float(b or 0)])
"""
AFTER = """
from typing import Annotated

import numpy as np


def verdict(y: Annotated[np.ndarray, "FP32[2]"]) -> str:
    if y[0] > 1000:
        raise ValueError("a secret of mine")
    return "large" if y.sum() > 20 else "small"
"""
COUNTED = """signature = {"inputs": {"text": "BYTES"}, "outputs": {"x": "INT64"}}"""
DOCUMENT = """
models:
  - name: parse
    versions: [{file: parse.py}]
  - name: verdict
    versions: [{file: verdict.py}]
deployments:
  - name: declared
    targets: [{model: adder, version: "1"}]
    policy: {before: [parse@1], after: [verdict@1]}
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("steps")
    with running_platform(folder / "home", workers=1) as platform, Client(platform.url, platform.admin_key) as client:
        client.push(write_adder(folder / "adder.onnx", 5.0), "adder")
        yield platform


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parse.py").write_text(BEFORE)
    (tmp_path / "verdict.py").write_text(AFTER)
    (tmp_path / "modelyard.yaml").write_text(DOCUMENT)
    return tmp_path


def ask(platform: RunningPlatform, name: str, *texts: str) -> httpx.Response:
    key = {"authorization": f"Bearer {platform.admin_key}"}
    body = {"records": [{"text": text} for text in texts]}
    return httpx.post(f"{platform.inference}/v1/deployments/{name}/predict", json=body, headers=key, timeout=60)


def said(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [next(iter(row.values())) for row in answer.json()["predictions"]]


@pytest.mark.timeout(240)
def test_the_command_line_pushes_functions_and_attaches_them(platform: RunningPlatform, folder: Path) -> None:
    command = ["deploy", "adder@1", "--name", "steps", "--before", str(folder / "parse.py"), "--after", str(folder / "verdict.py")]
    found = platform.json(*command, "--timeout", "120")
    assert found["state"] == "ready"
    assert platform.json(*command, "--timeout", "120")["versions"] == found["versions"]  # the same files are the same versions
    answer = ask(platform, "steps", "1 2", "7 8.5")
    assert said(answer) == ["small", "large"]
    # One call, one record, of the target's version, with the rows that came.
    traced = platform.json("trace", answer.headers["x-request-id"])
    assert (traced["rows"], traced["deployment"]) == (2, "steps")
    assert traced["combined"] == ["steps-parse@1", "adder@1", "steps-verdict@1"]
    # What a function raises is nobody's business but its owner's.
    broken = ask(platform, "steps", "2000 1")
    assert (broken.status_code, "secret" in broken.text) == (500, False)
    assert ask(platform, "steps", "one").status_code == 500
    assert said(ask(platform, "steps", "1 2")) == ["small"]
    # Other parts of the policy go on beside the steps, and the steps beside them.
    platform.run("deploy", "adder@1", "--name", "steps", "--replicas", "2", "--timeout", "120")
    assert said(ask(platform, "steps", "1 2")) == ["small"]
    platform.run("undeploy", "steps")


@pytest.mark.timeout(240)
def test_a_file_declares_them(platform: RunningPlatform, folder: Path) -> None:
    first = platform.run("apply", "-f", str(folder / "modelyard.yaml"), "--yes", "--json")
    assert {change["change"] for change in json.loads(first.stdout)["changes"]} == {"create"}
    again = json.loads(platform.run("apply", "-f", str(folder / "modelyard.yaml"), "--yes", "--json").stdout)
    assert {change["change"] for change in again["changes"]} == {"unchanged"}
    with Client(platform.url, platform.admin_key) as client:
        client.deployments.wait("declared", timeout=120)
    assert said(ask(platform, "declared", "7 8.5")) == ["large"]


@pytest.mark.timeout(240)
def test_the_sdk_attaches_versions_and_refuses_what_does_not_fit(platform: RunningPlatform, folder: Path) -> None:
    with Client(platform.url, platform.admin_key, timeout=120) as client:
        (folder / "count.py").write_text("def predict(text: str) -> int:\n    return len(text)\n\n\n" + COUNTED)
        count = client.push(folder / "count.py", "sdk-count")
        parse = client.push(folder / "parse.py", "sdk-parse")
        client.deploy("adder@1", "by-sdk", before=[parse.reference], timeout=120)
        assert client.deployments.policy("by-sdk") == {"before": [parse.reference]}
        assert [row["y"] for row in ask(platform, "by-sdk", "1 2").json()["predictions"]] == [[6.0, 7.0]]
        with pytest.raises(InvalidRequest, match="takes 'x' as FP32"):
            client.deploy("adder@1", "by-sdk", before=[count.reference])
        with pytest.raises(NotFound):
            client.deploy("adder@1", "by-sdk", before=["nobody@1"])
        assert [row["y"] for row in ask(platform, "by-sdk", "1 2").json()["predictions"]] == [[6.0, 7.0]]


@pytest.mark.timeout(120)
def test_pushing_a_function_needs_trust(platform: RunningPlatform, folder: Path) -> None:
    key = platform.json("keys", "create", "--action", "read", "--action", "develop", "--action", "deploy")["key"]
    refused = platform.run("deploy", "adder@1", "--name", "mine", "--before", str(folder / "parse.py"), check=False, key=key)
    assert (refused.returncode != 0, "trust" in refused.stderr, "Traceback" in refused.stderr) == (True, True, False)

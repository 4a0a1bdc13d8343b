"""A Python class becomes a served model: pushed with trust, tried, run in a process and an environment of its own."""

from __future__ import annotations

import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from acceptance.test_kills import eventually
from modelyard import Client
from modelyard.core.errors import InvalidArtifact, PermissionDenied
from modelyard.testing.platform import RunningPlatform, running_platform

MODEL = """
import shout


class Model:
    def setup(self, folder):
        print("setting up", flush=True)
        self.suffix = (folder / "suffix.txt").read_text()

    def predict(self, text: str) -> str:
        if text == "boom":
            raise ValueError("a secret of mine")
        return shout.loud(text) + self.suffix
"""


def wheel(folder: Path) -> Path:
    """A package of one module, which nobody else has."""
    path = folder / "shout-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("shout.py", "def loud(text):\n    return text.upper()\n")
        archive.writestr("shout-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shout\nVersion: 1.0\n")
        archive.writestr("shout-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("shout-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("python") / "home", workers=1) as platform:
        yield platform


@pytest.fixture(scope="module")
def client(platform: RunningPlatform) -> Iterator[Client]:
    with Client(platform.url, platform.admin_key, timeout=600) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shouter"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    (folder / "suffix.txt").write_text("!")
    (folder / "requirements.txt").write_text(f"shout @ {wheel(tmp_path).as_uri()}\n")
    return folder


def ask(platform: RunningPlatform, name: str, text: str) -> httpx.Response:
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    headers = {"authorization": f"Bearer {platform.admin_key}"}
    return httpx.post(f"{platform.inference}/v2/models/{name}/infer", json=body, headers=headers, timeout=60)


@pytest.mark.timeout(600)
def test_a_class_with_requirements_is_served_from_its_own_environment(platform: RunningPlatform, client: Client, folder: Path) -> None:
    version = client.push(folder, "shouter")
    assert (version.artifact.format, version.profile.inline, version.profile.row_independent) == ("python", False, False)
    assert [spec.name for spec in version.signature.inputs] == ["text"]
    client.deploy("shouter@1", "shouter")
    client.deployments.wait("shouter", timeout=120)
    answer = ask(platform, "shouter", "hello")
    assert answer.json()["outputs"][0]["data"] == ["HELLO!"]
    failed = ask(platform, "shouter", "boom")
    assert failed.status_code == 500
    assert "secret" not in failed.text
    (log,) = (platform.home / "logs").glob("replica-*.log")
    eventually(lambda: "a secret of mine" in log.read_text(), 10, "the log has what the model said")
    assert "setting up" in log.read_text()
    environments = [path for path in (platform.home / "cache" / "environments").iterdir() if (path / "modelyard-ready").exists()]
    assert len(environments) == 1


def test_whoever_lacks_trust_may_not_push_code(platform: RunningPlatform, client: Client, folder: Path) -> None:
    made = client.keys.create(actions=["infer", "read", "develop", "deploy"])
    with Client(platform.url, made.key) as untrusted, pytest.raises(PermissionDenied, match="needs the right 'trust'"):
        untrusted.push(folder, "sly")


@pytest.mark.timeout(300)
def test_requirements_that_cannot_be_installed_say_so(platform: RunningPlatform, client: Client, folder: Path) -> None:
    (folder / "requirements.txt").write_text("this-package-does-not-exist-anywhere-at-all==9.9\n")
    with pytest.raises(InvalidArtifact, match=r"requirements\.txt cannot be installed: .*this-package-does-not-exist"):
        client.push(folder, "broken")


def test_a_class_that_cannot_be_set_up_is_refused_with_its_line(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    code = """
    class Model:
        def setup(self):
            raise RuntimeError("there are no weights")

        def predict(self, x: float) -> float:
            return x
    """
    path.write_text(textwrap.dedent(code))
    with pytest.raises(InvalidArtifact, match="The setup of Model failed: RuntimeError: there are no weights, line 4"):
        client.push(path, "unready")


def test_rows_of_calls_share_predict_batch_and_a_dead_replica_comes_back(platform: RunningPlatform, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    code = """
    import os

    class Model:
        repeatable = False

        def predict_batch(self, x: float) -> int:
            if x[0] < 0:
                os._exit(3)
            return (x * 0 + len(x)).astype(int)
    """
    path.write_text(textwrap.dedent(code))
    version = client.push(path, "sizes")
    assert not version.profile.row_independent  # it tells how many rows came: they are not independent
    client.deploy("sizes@1", "sizes")
    client.deployments.wait("sizes", timeout=60)
    headers = {"authorization": f"Bearer {platform.admin_key}"}

    def call(value: float) -> httpx.Response:
        body = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "data": [value, value]}]}
        return httpx.post(f"{platform.inference}/v2/models/sizes/infer", json=body, headers=headers, timeout=60)

    assert call(1).json()["outputs"][0]["data"] == [2, 2]
    died = call(-1)
    assert died.status_code == 503
    assert "not repeated" in died.text
    assert call(1).status_code == 200

"""A Python class becomes a served model: pushed with trust, tried, run in a process and an environment of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from acceptance.test_kills import eventually
from makers.wheels import wheel
from modelyard import Client
from modelyard.core.errors import InvalidArtifact, PermissionDenied
from modelyard.engines.confinement import why_not
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
    made = wheel(tmp_path, "shout", {"shout.py": "def loud(text):\n    return text.upper()\n"})
    (folder / "requirements.txt").write_text(f"shout @ {made.as_uri()}\n")
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


def test_calls_that_wait_share_predict_batch(platform: RunningPlatform, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    code = """
    import time

    class Model:
        def predict_batch(self, x: float) -> float:
            print("rows", len(x), flush=True)
            time.sleep(0.05)
            return x * 2
    """
    path.write_text(textwrap.dedent(code))
    assert client.push(path, "doubler").profile.row_independent
    client.deploy("doubler@1", timeout=60)
    headers = {"authorization": f"Bearer {platform.admin_key}"}

    def call(value: int) -> float:
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}]}
        reply = httpx.post(f"{platform.inference}/v2/models/doubler/infer", json=body, headers=headers, timeout=60)
        return float(reply.json()["outputs"][0]["data"][0])

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(call, range(24))) == [2.0 * value for value in range(24)]
    sizes = [int(line.split()[-1]) for line in platform.run("logs", "doubler").stdout.splitlines() if "rows " in line]
    assert max(sizes) > 1
    client.deployments.delete("doubler")


HOSTILE = """
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path


class Model:
    def setup(self, folder):
        self.folder = folder
        with tempfile.TemporaryFile() as file:
            file.write(bytes(100_000))

    def predict(self, attempt: str, place: str) -> str:
        try:
            return str(getattr(self, attempt, self.nothing)(place))
        except Exception as error:
            return type(error).__name__

    def nothing(self, place):
        return "tried"

    def read(self, place):
        return len(Path(place).read_bytes())

    def list(self, place):
        return os.listdir(place)

    def write(self, place):
        return Path(place).write_text("x")

    def keep(self, place):
        with tempfile.NamedTemporaryFile() as file:
            return file.write(b"mine")

    def load(self, place):
        return (self.folder / "weights.txt").read_text()

    def call(self, place):
        host, port = place.split(":")
        return socket.create_connection((host, int(port)), timeout=5).close()

    def local(self, place):
        return socket.socket(socket.AF_UNIX).connect(place)

    def listen(self, place):
        return socket.create_server(("127.0.0.1", 0)).close()

    def run(self, place):
        return subprocess.run([sys.executable, "-c", "print(1)"], check=True).returncode

    def fork(self, place):
        return os.fork()

    def spawn(self, place):
        return os.posix_spawn("/bin/true", ["true"], {})

    def pool(self, place):
        return multiprocessing.get_context("fork").Process(target=print).start()

    def link(self, place):
        return os.link(place, Path(tempfile.gettempdir()) / "linked")

    def open_up(self, place):
        return os.chmod(place, 0o777)

    def kill(self, place):
        return os.kill(os.getppid(), 0)

    def secrets(self, place):
        return [name for name in os.environ if name.startswith("MODELYARD_") and "JOB" not in name]
"""


@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(why_not()), reason="this machine cannot confine")
def test_a_hostile_model_reaches_nothing_but_its_own_files(platform: RunningPlatform, client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "model.py").write_text(HOSTILE)
    (folder / "weights.txt").write_text("mine")
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    client.push(folder, "hostile")
    client.deploy("hostile@1", "hostile", timeout=60)
    management = platform.url.removeprefix("http://")
    (log,) = [path for path in (platform.home / "logs").glob("replica-*.log") if "Confined by Landlock" in path.read_text()][-1:]

    def attempt(what: str, place: object = "") -> str:
        columns = [
            {"name": name, "shape": [1], "datatype": "BYTES", "data": [str(data)]} for name, data in (("attempt", what), ("place", place))
        ]
        headers = {"authorization": f"Bearer {platform.admin_key}"}
        reply = httpx.post(f"{platform.inference}/v2/models/hostile/infer", json={"inputs": columns}, headers=headers, timeout=60)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["outputs"][0]["data"][0])

    assert (attempt("load"), attempt("keep"), attempt("secrets")) == ("mine", "4", "[]")
    refused = "PermissionError"
    for what, place in (
        ("read", secret),
        ("read", platform.home / "modelyard.db"),
        ("read", f"/proc/{platform.process.pid}/environ"),
        ("list", platform.home),
        ("list", tmp_path),
        ("write", tmp_path / "new"),
        ("write", platform.home / "new"),
        ("write", log),
        ("call", management),
        ("local", next((platform.home / "run").rglob("s"), "/run/any.sock")),
        ("listen", ""),
        ("run", ""),
        ("fork", ""),
        ("spawn", ""),
        ("pool", ""),
        ("open_up", secret),
        ("kill", ""),
    ):
        assert (what, str(place), attempt(what, place)) == (what, str(place), refused)
    assert attempt("link", secret) in {refused, "OSError"}  # the kernel says that it would cross a boundary
    assert not (tmp_path / "new").exists()
    open_door = {"replicas": {"reach": "network"}}
    developer = client.keys.create(label="deployer", actions=["infer", "read", "develop", "deploy"])
    with Client(platform.url, developer.key) as narrow, pytest.raises(PermissionDenied, match=r"replicas\.reach .*needs the right 'trust'"):
        narrow.deployments.put("hostile", ["hostile@1"], policy=open_door)
    client.deployments.put("hostile", ["hostile@1"], policy=open_door)
    eventually(lambda: attempt("call", management) == "None", 60, "a replica that may call others replaces the first")
    assert [attempt("read", secret), attempt("local", "/run/any.sock"), attempt("run")] == [refused] * 3
    client.deployments.delete("hostile")


def test_a_replica_over_its_memory_is_ended_alone_and_another_takes_its_place(
    platform: RunningPlatform, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "model.py"
    code = """
    import time

    class Model:
        repeatable = False

        def predict(self, x: float) -> float:
            kept = []
            while x < -1000:
                kept.append(bytearray(b"x" * (8 << 20)))  # as much as it is let
                time.sleep(0.005)
            return x
    """
    path.write_text(textwrap.dedent(code))
    client.push(path, "greedy")
    client.deployments.put("greedy", ["greedy@1"], policy={"replicas": {"min": 1, "max": 1, "memory_bytes": 256 << 20}})
    client.deployments.wait("greedy", timeout=60)
    headers = {"authorization": f"Bearer {platform.admin_key}"}

    def call(value: float) -> httpx.Response:
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}]}
        return httpx.post(f"{platform.inference}/v2/models/greedy/infer", json=body, headers=headers, timeout=60)

    assert call(1).json()["outputs"][0]["data"] == [1]
    assert (died := call(-9999)).status_code == 503, died.text
    assert call(2).json()["outputs"][0]["data"] == [2]

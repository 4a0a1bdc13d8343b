"""Versions in replica processes: kept alive, scaled, drained, and never the reason for an answer that is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from acceptance.graphs import write_adder
from acceptance.test_kills import BODY, eventually, processes
from modelyard import Client
from modelyard.core.deployments import DeploymentState
from modelyard.serving.replicas.places import DirectoryFile
from modelyard.testing.platform import RunningPlatform, running_platform


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("replicas") / "home") as platform:
        yield platform


@pytest.fixture(scope="module")
def client(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(platform.url, platform.admin_key)
    client.push(write_adder(tmp_path_factory.mktemp("graphs") / "adder.onnx", 10.0), "adder")
    yield client
    client.close()


def deploy(client: Client, name: str, policy: dict[str, object]) -> None:
    client.deployments.put(name, ["adder@1"], policy=policy)
    assert client.deployments.wait(name, timeout=60).state is DeploymentState.READY


COLD = "x-modelyard-cold-start-ms"


def ask(platform: RunningPlatform, name: str, seconds: float = 30, more: dict[str, str] | None = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {platform.admin_key}"} | (more or {})
    return httpx.post(f"{platform.inference}/v2/models/{name}/infer", json=BODY, headers=headers, timeout=seconds)


def ask_and_be_told(platform: RunningPlatform, name: str) -> str:
    """All that comes before and with the answer of a call that asks how far a start is."""
    body = json.dumps(BODY).encode()
    place = urlsplit(platform.inference)
    head = (
        f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {platform.admin_key}\r\n"
        f"x-modelyard-progress: 0.1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def replicas(platform: RunningPlatform) -> list[psutil.Process]:
    return processes(platform, "replica")


def ready(platform: RunningPlatform) -> int:
    """Replicas that answer."""
    found = DirectoryFile(platform.home / "run").changed() or {}
    return sum(places.ready for places in found.values())


class Load:
    """Threads that call without a pause and count what is answered."""

    def __init__(self, platform: RunningPlatform, name: str, threads: int = 4) -> None:
        self._platform, self._name = platform, name
        self.statuses: Counter[int] = Counter()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(threads)
        self._runs = [self._pool.submit(self._run) for _ in range(threads)]

    def _run(self) -> None:
        headers = {"authorization": f"Bearer {self._platform.admin_key}"}
        with httpx.Client(headers=headers, timeout=60) as client:
            while not self._stop.is_set():
                reply = client.post(f"{self._platform.inference}/v2/models/{self._name}/infer", json=BODY)
                self.statuses[reply.status_code] += 1

    def stop(self) -> Counter[int]:
        self._stop.set()
        for run in self._runs:
            run.result(90)
        self._pool.shutdown()
        return self.statuses


def test_a_version_runs_in_as_many_processes_as_the_policy_says(platform: RunningPlatform, client: Client) -> None:
    deploy(client, "own", {"replicas": {"min": 2, "max": 2}})
    eventually(lambda: len(replicas(platform)) == 2, 20, "two replicas run")
    answer = ask(platform, "own")
    assert (answer.status_code, answer.json()["outputs"][0]["data"]) == (200, [11.0, 12.0])


def test_replicas_killed_under_load_lose_no_call_that_may_be_repeated(platform: RunningPlatform, client: Client) -> None:
    deploy(client, "own", {"replicas": {"min": 2, "max": 2}})
    load = Load(platform, "own")
    for _ in range(4):
        eventually(lambda: ready(platform) == 2, 60, "two replicas answer")
        time.sleep(0.3)  # both are reached and have calls
        os.kill(replicas(platform)[0].pid, signal.SIGKILL)
    eventually(lambda: ready(platform) == 2, 60, "two replicas answer again")
    statuses = load.stop()
    assert set(statuses) == {200}, statuses
    assert statuses[200] > 100


def test_a_killed_controller_takes_no_replica_with_it(platform: RunningPlatform, client: Client) -> None:
    deploy(client, "own", {"replicas": {"min": 2, "max": 2}})
    eventually(lambda: ready(platform) == 2, 60, "two replicas answer")
    before = {process.pid for process in replicas(platform)}
    load = Load(platform, "own", 2)
    (controller,) = processes(platform, "controller")
    os.kill(controller.pid, signal.SIGKILL)
    eventually(lambda: bool(processes(platform, "controller")) and not psutil.pid_exists(controller.pid), 20, "another controller runs")
    answered = load.statuses[200]
    eventually(lambda: load.statuses[200] > answered + 20, 20, "calls are answered")
    assert set(load.stop()) == {200}
    assert {process.pid for process in replicas(platform)} == before


def test_a_killed_engine_comes_back_with_its_replicas_while_calls_wait(platform: RunningPlatform, client: Client) -> None:
    deploy(client, "own", {"replicas": {"min": 1, "max": 1}})
    eventually(lambda: len(replicas(platform)) == 1, 20, "one replica is left")
    (engine,) = processes(platform, "engine")
    os.kill(engine.pid, signal.SIGKILL)
    assert ask(platform, "own", 60).status_code == 200
    eventually(lambda: len(replicas(platform)) == 1, 20, "one replica runs")


def test_a_killed_worker_finds_the_replicas_again(platform: RunningPlatform, client: Client) -> None:
    deploy(client, "own", {"replicas": {"min": 1, "max": 1}})
    (replica,) = replicas(platform)
    for worker in processes(platform, "worker"):
        os.kill(worker.pid, signal.SIGKILL)

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return ask(platform, "own").status_code == 200
        return False

    eventually(answers, 30, "calls are answered")
    assert [process.pid for process in replicas(platform)] == [replica.pid]


def test_nothing_runs_while_nobody_calls_and_the_first_call_waits_for_it(platform: RunningPlatform, client: Client) -> None:
    deploy(client, "own", {"replicas": {"min": 0, "max": 1, "idle_seconds": 1}})
    eventually(lambda: not replicas(platform), 30, "nothing runs")
    late = ask(platform, "own", 60, {"x-request-timeout": "20ms"})
    assert (late.status_code, int(late.headers[COLD]) < 2000) == (504, True)
    with ThreadPoolExecutor(6) as pool:
        told = pool.submit(ask_and_be_told, platform, "own")
        answers = list(pool.map(lambda _: ask(platform, "own", 60), range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    before, _, answer = told.result().rpartition("HTTP/1.1 200")
    assert before.startswith("HTTP/1.1 102 Processing\r\nx-modelyard-progress: ")
    assert "waited=" in before
    assert int(answer.lower().split(f"{COLD}: ")[1].split("\r\n")[0]) > 0
    assert len(replicas(platform)) == 1
    assert COLD not in ask(platform, "own").headers
    eventually(lambda: not replicas(platform), 30, "nothing runs again")


def test_a_change_of_the_policy_loses_no_call(platform: RunningPlatform, client: Client) -> None:
    deploy(client, "own", {"replicas": {"min": 1, "max": 1}})
    load = Load(platform, "own")
    for policy in ({"replicas": {"min": 1, "max": 1, "threads": 2}}, {"isolation": "shared"}, {"replicas": {"min": 2, "max": 2}}):
        deploy(client, "own", policy)
        time.sleep(1)
    statuses = load.stop()
    assert set(statuses) == {200}, statuses


def test_an_undeployed_version_leaves_no_process(platform: RunningPlatform, client: Client) -> None:
    deploy(client, "own", {"replicas": {"min": 1, "max": 1}})
    client.deployments.delete("own")
    eventually(lambda: not replicas(platform), 40, "its processes ended")


def test_a_version_that_cannot_be_had_says_why(platform: RunningPlatform, client: Client) -> None:
    client.deployments.put("greedy", ["adder@1"], policy={"replicas": {"gpus": 1}})
    eventually(lambda: client.deployments.get("greedy").state is DeploymentState.FAILED, 20, "it is known to fail")
    assert "needs 1 GPUs and 0 of this machine's 0 are free" in client.deployments.get("greedy").reason
    answer = ask(platform, "greedy")
    assert (answer.status_code, "GPUs" in answer.text) == (503, True)
    client.deployments.delete("greedy")


def test_its_output_is_logged_apart(platform: RunningPlatform, client: Client, tmp_path: Path) -> None:
    deploy(client, "own", {"replicas": {"min": 1, "max": 1}})
    logs = list((platform.home / "logs").glob("replica-*.log"))
    assert len(logs) == 1
    assert "Serves as process" in logs[0].read_text()

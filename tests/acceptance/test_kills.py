"""SIGKILL of any process leaves nothing half-written, and service resumes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.core.errors import ModelyardError
from modelyard.core.jobs import JobStatus
from modelyard.testing.platform import RunningPlatform

BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}


def eventually(check: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def processes(platform: RunningPlatform, entry: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(platform.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(f"entrypoints.{entry}" in part for part in process.cmdline()):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def client(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(platform.url, platform.admin_key)
    client.push(write_adder(tmp_path_factory.mktemp("graphs") / "adder.onnx", 10.0), "adder")
    client.deploy("adder@1", "adder")
    yield client
    client.close()


def calls_work(platform: RunningPlatform) -> bool:
    try:
        headers = {"authorization": f"Bearer {platform.admin_key}"}
        return httpx.post(f"{platform.inference}/v2/models/adder/infer", json=BODY, headers=headers, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_worker_comes_back_and_the_other_goes_on(platform: RunningPlatform, client: Client) -> None:
    workers = processes(platform, "worker")
    assert len(workers) == 2
    victim = workers[0].pid
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: calls_work(platform), 5, "calls are answered by the other worker")
    eventually(lambda: len(processes(platform, "worker")) == 2 and not psutil.pid_exists(victim), 15, "the worker was restarted")
    eventually(lambda: all(calls_work(platform) for _ in range(10)), 10, "ten calls in a row are answered")


def test_calls_go_on_while_the_controller_is_dead_and_it_comes_back(platform: RunningPlatform, client: Client) -> None:
    (controller,) = processes(platform, "controller")
    os.kill(controller.pid, signal.SIGKILL)
    assert all(calls_work(platform) for _ in range(20))
    eventually(lambda: bool(processes(platform, "controller")), 15, "the controller was restarted")

    def manageable() -> bool:
        with contextlib.suppress(ModelyardError, httpx.TransportError):
            return any(model.name == "adder" for model in client.models.list())
        return False

    eventually(manageable, 20, "the management API answers again")


def test_a_push_that_a_killed_controller_broke_off_leaves_no_version(platform: RunningPlatform, client: Client, tmp_path: Path) -> None:
    before = [version.number for version in client.models.versions("adder")]
    path = write_adder(tmp_path / "next.onnx", 99.0)
    broken: list[BaseException] = []

    def push() -> None:
        try:
            with Client(platform.url, platform.admin_key, retries=0) as other:
                other.push(path, "adder")
        except (ModelyardError, httpx.TransportError) as error:
            broken.append(error)

    pusher = threading.Thread(target=push)
    pusher.start()
    eventually(lambda: bool(processes(platform, "probe")), 10, "the trial of the pushed model runs")
    (controller,) = processes(platform, "controller")
    os.kill(controller.pid, signal.SIGKILL)
    pusher.join(30)
    assert broken

    def versions() -> list[int] | None:
        with contextlib.suppress(ModelyardError, httpx.TransportError):
            return [version.number for version in client.models.versions("adder")]
        return None

    eventually(lambda: versions() is not None, 20, "the management API answers again")
    assert versions() == before
    assert client.push(path, "adder").number == max(before) + 1


def test_a_training_job_whose_process_is_killed_is_retried_and_stores_one_version(
    platform: RunningPlatform, client: Client, penguins: Path
) -> None:
    job = client.submit_training(penguins, "species", name="killed", recipe={"families": ["logistic"]})
    eventually(lambda: bool(processes(platform, "job")), 20, "the job's process runs")
    for process in processes(platform, "job"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    ended = client.jobs.wait(job.id, timeout=90)
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.attempt == 2
    assert [version.number for version in client.models.versions("killed")] == [1]


def test_usage_of_answered_calls_survives_a_killed_worker(platform: RunningPlatform, client: Client) -> None:
    client.deploy("adder@1", "counted")
    headers = {"authorization": f"Bearer {client.keys.create(deployments=['counted']).key}"}
    url = f"{platform.inference}/v2/models/counted/infer"
    answered = 0
    for turn in range(40):
        if turn == 20:
            os.kill(processes(platform, "worker")[0].pid, signal.SIGKILL)
        with contextlib.suppress(httpx.TransportError):
            answered += httpx.post(url, json=BODY, headers=headers, timeout=5).status_code == 200
    assert answered >= 35

    def counted() -> int:
        rows = client.platform.usage(by=["status"], deployment="counted")
        return sum(row.calls for row in rows if row.status == "2xx")

    eventually(lambda: counted() >= answered, 15, f"{answered} answered calls are in the ledger")
    # A call that the kill broke off after its record was written has one too.
    assert answered <= counted() <= answered + 1

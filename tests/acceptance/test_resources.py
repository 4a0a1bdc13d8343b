"""What ``modelyard top`` and the metrics page tell of a running platform, of its jobs and its replicas."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from acceptance.graphs import write_adder
from acceptance.test_kills import eventually
from modelyard import Client
from modelyard.core.jobs import JobStatus, Limits
from modelyard.core.machine import Part, ProcessUsage
from modelyard.testing.platform import RunningPlatform

PLATFORM = {Part.SUPERVISOR, Part.CONTROLLER, Part.ENGINE, Part.WORKER}
LONG = ("mlp", "random_forest", "svm", "hist_gradient_boosting")


@pytest.fixture(scope="module")
def client(platform: RunningPlatform) -> Iterator[Client]:
    with Client(platform.url, platform.admin_key) as client:
        yield client


def parts(client: Client) -> dict[Part, list[ProcessUsage]]:
    found: dict[Part, list[ProcessUsage]] = {}
    for usage in client.platform.resources().processes:
        found.setdefault(usage.part, []).append(usage)
    return found


def test_every_part_of_the_platform_is_there_with_its_own_process(platform: RunningPlatform, client: Client) -> None:
    eventually(lambda: set(parts(client)) >= PLATFORM, 60, "every part")
    found = parts(client)
    assert [usage.name for usage in found[Part.WORKER]] == ["worker-0", "worker-1"]
    [supervisor] = found[Part.SUPERVISOR]
    assert supervisor.pid == platform.process.pid
    children = {child.pid for child in psutil.Process(supervisor.pid).children()}
    pids = [usage.pid for part in (Part.CONTROLLER, Part.ENGINE, Part.WORKER) for usage in found[part]]
    assert children == set(pids)
    assert supervisor.processes == 1, "its children are told by themselves"
    assert all(usage.memory_bytes > 2**20 and usage.cpu_seconds > 0 for part in found.values() for usage in part)


def test_jobs_and_replicas_are_told_with_their_workspace(platform: RunningPlatform, client: Client, penguins: Path, tmp_path: Path) -> None:
    client.push(write_adder(tmp_path / "adder.onnx", 10.0), "adder")
    client.deployments.put("apart", ["adder@1"], policy={"replicas": {"min": 1, "max": 1}})
    client.deployments.wait("apart", timeout=60)
    [replica] = parts(client)[Part.REPLICA]
    assert (replica.name, replica.workspace, replica.about) == ("adder@1/0", "default", "apart")
    job = client.submit_training(penguins, "species", name="penguins", recipe={"families": LONG, "budget": {"trials": 20}})
    eventually(lambda: Part.JOB in parts(client), 60, "the job runs")
    [running] = parts(client)[Part.JOB]
    assert (running.name, running.workspace, running.about) == (str(job.id), "default", "train")
    eventually(lambda: any(usage.cpu_seconds > 0.2 for usage in parts(client).get(Part.JOB, [])), 60, "the job computes")
    client.jobs.cancel(job.id)
    eventually(lambda: Part.JOB not in parts(client), 60, "the job is gone")


def test_a_job_at_its_memory_limit_is_ended_with_advice_and_every_call_is_answered_throughout(
    client: Client, penguins: Path, tmp_path: Path
) -> None:
    client.push(write_adder(tmp_path / "adder.onnx", 10.0), "adder")
    client.deploy("adder@1", "steady")
    limits = Limits(memory_bytes=100 * 2**20)  # less than what a training loads
    job = client.submit_training(penguins, "species", name="hungry", recipe={"families": ["forest"]}, limits=limits)
    looks: dict[JobStatus, int] = {}
    until = time.monotonic() + 90
    while not (found := client.jobs.get(job.id)).status.ended:
        assert client.predict("steady", {"x": [[1.0, 2.0]]})["y"].tolist() == [[11.0, 12.0]]
        looks[found.status] = looks.get(found.status, 0) + 1
        assert time.monotonic() < until
    assert (found.status, found.attempt) == (JobStatus.FAILED, 1)
    assert "raise the job's memory limit" in found.error
    assert looks[JobStatus.RUNNING] > 10, "calls and questions were answered while it ran, too"
    assert client.predict("steady", {"x": [[1.0, 2.0]]})["y"].tolist() == [[11.0, 12.0]]


def test_another_workspace_sees_neither_jobs_nor_replicas_of_this_one(platform: RunningPlatform, client: Client) -> None:
    client.workspaces.create("elsewhere")
    with Client(platform.url, platform.admin_key, workspace="elsewhere") as there:
        made = there.keys.create(actions=["read"])
    with Client(platform.url, made.key) as stranger:
        seen = stranger.platform.resources()
    assert Part.REPLICA in parts(client)
    assert {usage.part for usage in seen.processes} == PLATFORM
    assert seen.machine.memory_bytes == psutil.virtual_memory().total


def test_the_metrics_page_has_the_same(platform: RunningPlatform, client: Client) -> None:
    page = httpx.get(f"{platform.url}/metrics", headers={"authorization": f"Bearer {platform.admin_key}"}).text
    families = {family.name: family for family in text_string_to_metric_families(page)}
    modes = {sample.labels["mode"]: sample.value for sample in families["modelyard_machine_cpu_seconds"].samples}
    assert modes["user"] > 0
    memory = {sample.labels["name"]: sample.value for sample in families["modelyard_process_memory_bytes"].samples}
    assert {"supervisor", "controller", "engine", "worker-0", "worker-1", "adder@1/0"} <= set(memory)
    assert families["modelyard_process_cpu_seconds"].type == "counter"


def test_the_command_shows_rates_in_a_pipe_and_as_json(platform: RunningPlatform) -> None:
    shown = platform.run("top", "--every", "0.5").stdout
    assert "cores, load" in shown.splitlines()[0]
    assert any(line.startswith("replica") and "apart" in line for line in shown.splitlines())
    began = time.time_ns()
    document = platform.json("top", "--every", "0.3")
    assert document["seconds"] >= 0.3
    assert document["after"]["time_ns"] > document["before"]["time_ns"] >= began

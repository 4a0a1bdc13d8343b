"""What a deployment's policy asks for, on the running product: kept answers, graphs, memory, and the measuring of all that."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.testing.platform import RunningPlatform, running_platform

BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    settings = {"model_memory_bytes": "1000"}  # less than any model takes, so that one at a time is in memory
    with running_platform(tmp_path_factory.mktemp("platform") / "home", workers=1, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("graphs")
    with Client(platform.url, platform.admin_key) as client:
        for number, amount in enumerate((10.0, 20.0, 30.0), 1):
            client.push(write_adder(folder / f"adder{number}.onnx", amount), f"adder{number}")
            client.deploy(f"adder{number}@1")
        yield client


def ask(platform: RunningPlatform, name: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {platform.admin_key}"}
    return httpx.post(f"{platform.inference}/v2/models/{name}/infer", json=BODY, headers=headers, timeout=20)


def test_a_version_out_of_memory_answers_its_next_call(platform: RunningPlatform, client: Client) -> None:
    for _ in range(3):
        for number in (1, 2, 3):
            assert ask(platform, f"adder{number}").json()["outputs"][0]["data"][0] == 1 + 10 * number
    until = time.monotonic() + 10
    while [worker["loaded_versions"] for worker in client.status()["workers"]] != [1]:
        assert time.monotonic() < until, client.status()
        time.sleep(0.1)


def test_an_answer_that_is_kept_is_recorded_as_such(platform: RunningPlatform, client: Client) -> None:
    client.deployments.put("kept", ["adder1@1"], policy={"cache": {"seconds": 60}})
    client.deployments.wait("kept")
    told = platform.run(
        "prices", "set", "--deployment", "kept", "--currency", "USD", "--call", "1", "--row", "0.5", "--cached-call", "0.25"
    )
    assert "0.25 USD/cached call" in told.stdout
    client.limits.set("4 USD total", scope="deployment", subject="kept")
    time.sleep(1)
    answers = [ask(platform, "kept") for _ in range(3)]
    assert len({reply.content for reply in answers}) == 1
    until = time.monotonic() + 20
    traces = [platform.json("trace", reply.headers["x-request-id"]) for reply in answers]
    assert [trace.get("cached", False) for trace in traces] == [False, True, True]
    while True:
        (row,) = [row for row in client.platform.usage(by=["deployment"]) if row.deployment == "kept"]
        if row.calls == 3:
            break
        assert time.monotonic() < until
        time.sleep(0.2)
    assert row.cached_calls == 2
    bill = client.platform.invoice(datetime.now(UTC).strftime("%Y-%m"))
    assert [(line.item, line.quantity, line.amount) for line in bill.lines if line.deployment == "kept"] == [
        ("call", 1, 1_000_000),
        ("row", 1, 500_000),
        ("cached_call", 2, 500_000),
    ]
    # The budget counts as the bill does, 2 of 4 so far: kept answers fit as long as one that has to be computed would.
    statuses = [ask(platform, "kept").status_code for _ in range(8)]
    assert statuses[:3] == [200] * 3
    assert statuses[-1] == 429


def test_a_graph_is_one_model_to_its_callers_and_one_record_to_the_ledger(platform: RunningPlatform, client: Client) -> None:
    graph = {"kind": "sequence", "steps": ["adder1@1", {"kind": "ensemble", "members": ["adder2@1", "adder3@1"]}]}
    view = client.deployments.put("graph", [], policy={"graph": graph})
    client.deployments.wait("graph")
    reply = ask(platform, "graph")
    assert reply.json()["outputs"][0]["data"] == [36.0, 37.0]
    assert (reply.json()["model_name"], reply.json()["model_version"]) == ("graph", str(view.revision))
    assert platform.json("trace", reply.headers["x-request-id"])["rows"] == 1
    records = client.inference.describe("graph")
    assert [each["name"] for each in records["outputs"]] == ["y"]


def test_bench_measures_and_draws(platform: RunningPlatform, client: Client, tmp_path: Path) -> None:
    picture = tmp_path / "adder.svg"
    found = platform.json("bench", "adder1", "-c", "1", "-c", "4", "--seconds", "0.5", "--output", str(picture), "--processes", "2")
    assert [row["connections"] for row in found["measured"]] == [1, 4]
    assert all(row["per_second"] > 10 and 0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in found["measured"])
    assert all(row["failed"] == 0 for row in found["measured"])
    assert ET.parse(picture).getroot().tag.endswith("svg")
    table = platform.run("bench", "adder1", "-c", "2", "--seconds", "0.3").stdout
    assert "PER SECOND" in table
    refused = platform.run("bench", "adder1", "--path", "/v2/models/absent/infer", "-c", "1", "--seconds", "0.2", check=False)
    assert refused.returncode == 1
    assert "No call was answered" in refused.stderr


def test_stages_are_told_of_some_of_the_calls(platform: RunningPlatform, client: Client) -> None:
    platform.run("bench", "adder2", "-c", "2", "--seconds", "1")
    until = time.monotonic() + 10
    wanted = {"gate", "decode", "queue", "compute", "encode"}
    while True:
        page = httpx.get(f"{platform.url}/metrics", headers={"authorization": f"Bearer {platform.admin_key}"}).text
        counts = re.findall(r'modelyard_stage_seconds_count\{deployment="adder2",stage="(\w+)"\} (\S+)', page)
        if {stage for stage, count in counts if float(count) > 0} == wanted:
            break
        assert time.monotonic() < until, page[-2000:]
        time.sleep(0.2)
    sums = dict(re.findall(r'modelyard_stage_seconds_sum\{deployment="adder2",stage="(\w+)"\} (\S+)', page))
    assert all(0 <= float(seconds) / float(dict(counts)[stage]) < 1 for stage, seconds in sums.items())

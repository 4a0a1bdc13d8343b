"""A batch on a running platform: uploaded, worked off by a job that is killed, downloaded, in the ledger."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import openai
import pytest

from modelyard import Client
from modelyard.core.jobs import JobStatus
from modelyard.testing.encoders import write_encoder
from modelyard.testing.platform import RunningPlatform, running_platform

LINES = 1500


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("batches")
    write_encoder(folder / "sentences", ["one two three four five"])
    with running_platform(folder / "home", workers=1) as running:
        running.run("push", str(folder / "sentences"), "--name", "sentences")
        running.run("deploy", "sentences@1")
        yield running


def upload(client: openai.OpenAI, folder: Path, count: int) -> str:
    path = folder / "calls.jsonl"
    with path.open("w") as file:
        for number in range(count):
            body = {"model": "sentences", "input": f"one two {number}"}
            file.write(json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": "/v1/embeddings", "body": body}) + "\n")
    return client.files.create(file=path, purpose="batch").id


def running_job(platform: RunningPlatform, until: float) -> int:
    """The process that works on the batch."""
    with Client(platform.url, platform.admin_key) as client:
        while True:
            found = [job.pid for job in client.jobs.list() if job.kind == "batch" and job.status is JobStatus.RUNNING and job.pid]
            if found:
                return found[0]
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.mark.timeout(240)
def test_a_batch_survives_the_death_of_its_job(platform: RunningPlatform, tmp_path: Path) -> None:
    with openai.OpenAI(base_url=f"{platform.inference}/v1", api_key=platform.admin_key, max_retries=8) as client:
        client.embeddings.create(model="sentences", input="one")  # waits until it is served
        made = client.batches.create(input_file_id=upload(client, tmp_path, LINES), endpoint="/v1/embeddings", completion_window="24h")
        until = time.monotonic() + 120
        pid = running_job(platform, until)
        answers = next((platform.home / "batches").glob(f"*/work/{made.id}")) / "answers.jsonl"
        while not answers.exists() or answers.read_bytes().count(b"\n") < 50:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not (answers.parent / "ended.json").exists()
        os.kill(pid, signal.SIGKILL)
        while (done := client.batches.retrieve(made.id)).status != "completed":
            assert done.status in {"validating", "in_progress", "finalizing"}
            assert time.monotonic() < until
            time.sleep(0.1)
        assert done.request_counts.total == done.request_counts.completed == LINES
        told = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
        assert [one["custom_id"] for one in told] == [f"line-{number}" for number in range(LINES)]
        assert len(told[0]["response"]["body"]["data"][0]["embedding"]) == 64
    while time.monotonic() < until:
        rows = platform.json("usage", "--by", "kind")
        if any(row["kind"] == "embed" and row["calls"] >= LINES for row in rows):
            break
        time.sleep(0.2)
    else:
        pytest.fail(f"the ledger does not know the calls: {rows}")

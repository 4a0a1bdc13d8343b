"""Whole files through the real platform: answered by a deployment's version, killed on the way, downloaded in order."""

import csv
import io
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from example_scripts import run_example
from modelyard.core.errors import InvalidRequest, JobFailed, NotFound
from modelyard.sdk.client import Client
from modelyard.testing.platform import running_platform

PENGUINS = Path(__file__).parents[3] / "examples/data/penguins.csv"


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running_platform(tmp_path_factory.mktemp("scoring") / "home", workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform, tmp_path_factory):
    with Client(platform.url, platform.admin_key) as made:
        place = tmp_path_factory.mktemp("pictures")
        said = run_example(platform, "choose_columns", PENGUINS, "species", "qubo", "4", "2", folder=place)
        assert "penguins@1: qubo keeps " in said
        assert "recipes tried, the best three:" in said
        assert {path.name for path in place.iterdir()} == {"penguins-selection.png", "penguins-search_coordinates.png"}
        made.deploy("penguins@1", "birds")
        yield made


@pytest.mark.timeout(300)
def test_a_deployment_answers_a_file_as_it_answers_calls(client, platform, tmp_path):
    version = client.models.version("penguins@1")
    assert len(version.signature.inputs) == 4
    assert version.report["selection"]["method"] == "qubo"
    out = tmp_path / "answers.csv"
    said = run_example(platform, "answer_file", "birds", PENGUINS, out, "species")
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert len(rows) == 344
    assert "344 rows" in said
    assert "by penguins@1" in said
    columns = [tensor.name for tensor in version.signature.inputs]
    given = list(csv.DictReader(io.StringIO(PENGUINS.read_text())))
    assert [row["species"] for row in rows] == [row["species"] for row in given]
    texts = {tensor.name for tensor in version.signature.inputs if tensor.datatype == "BYTES"}
    records = [
        {name: None if row[name] in {"", "NA"} else row[name] if name in texts else float(row[name]) for name in columns}
        for row in given[:50]
    ]
    called = client.predict("birds", records)
    assert [row["label"] for row in rows[:50]] == [answer["label"] for answer in called]
    assert sum(row["label"] == row["species"] for row in rows) > 320
    for _ in range(300):  # the ledger is folded a little later
        used = {row["deployment"]: row["rows"] for row in platform.json("usage", "--by", "deployment")}
        if used.get("birds", 0) >= 344 + 50:
            break
        time.sleep(0.1)
    assert used["birds"] == 344 + 50, "a file counts as calls do"


@pytest.mark.timeout(300)
def test_a_killed_job_answers_only_what_is_missing(client, tmp_path):
    random = np.random.default_rng(0)
    signature = client.models.version("penguins@1").signature
    rows = 400_000
    table = {
        tensor.name: pa.array(np.array(["Biscoe", "Dream", "male"])[random.integers(0, 3, rows)])
        if tensor.datatype == "BYTES"
        else pa.array(random.normal(40, 5, rows).astype(np.float32))
        for tensor in signature.inputs
    }
    pq.write_table(pa.table({"id": np.arange(rows)} | table), tmp_path / "many.parquet", row_group_size=20_000)
    dataset = client.datasets.upload(tmp_path / "many.parquet", "many")
    job = client.jobs.submit(
        "predict", {"version": "penguins@1", "dataset": f"many@{dataset.number}", "keep": ["id"], "rows": 4_000, "form": "parquet"}
    )
    for _ in range(3000):
        found = client.jobs.get(job.id)
        assert not found.status.ended, found.error
        if found.pid and found.progress.stage == "answer" and found.progress.fraction > 0.05:
            break
        time.sleep(0.01)
    os.kill(found.pid, signal.SIGKILL)
    ended = client.jobs.wait(job.id)
    assert ended.attempt == 2
    assert 0 < ended.result["resumed_shards"] < ended.result["shards"] == 100
    out = io.BytesIO()
    client.datasets.download(ended.result["dataset"], out)
    answers = pq.read_table(io.BytesIO(out.getvalue()))
    assert answers["id"].to_pylist() == list(range(rows))
    listed = next(entry for entry in client.datasets.list() if entry.name == "many-predictions")
    assert listed.schema["job"] == job.id


@pytest.mark.timeout(120)
def test_jobs_wait_in_line_by_priority(client, platform):
    said = run_example(platform, "share_machine", "penguins@1", PENGUINS)
    assert "default: 1 job at a time" in said
    jobs = [line.split() for line in said.splitlines() if line.startswith("job ")]
    assert [line[4] for line in jobs][-1] == "0", "the last is the least"
    assert float(jobs[-1][6]) > float(jobs[0][6])
    assert "worker-0: " in said
    assert client.pools.list()[0].jobs == 0, "as it was"


@pytest.mark.timeout(120)
def test_what_cannot_be_answered_is_one_sentence(client, platform, tmp_path):
    with pytest.raises(NotFound, match="data set 'nothing'"):
        client.jobs.submit("predict", {"version": "penguins@1", "dataset": "nothing"})
    with pytest.raises(InvalidRequest, match="predictions cannot be made"):
        client.jobs.submit("predict", {"version": "penguins@1", "dataset": "penguins", "keeps": []})
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(JobFailed, match="has no column"):
        client.predict_file("penguins@1", tmp_path / "t.csv", io.BytesIO())
    refused = platform.run("batch", "birds", "--data", str(PENGUINS), "--out", str(tmp_path / "answers.xlsx"), check=False)
    assert refused.returncode == 1
    assert ".csv, .parquet or .zip" in refused.stderr
    assert not list(tmp_path.glob("*answers*"))
    assert json.loads(platform.run("jobs", "--json").stdout)[0]["kind"] == "predict"

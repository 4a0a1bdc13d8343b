"""Files answered in this process: every row once, in order, whatever was there from before."""

import zipfile

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from integration.served import classifier
from job_context import JobContext
from modelyard.core.errors import InvalidData, JobFailed
from modelyard.engines.cluster import Cluster
from modelyard.scoring import job
from modelyard.scoring.parts import Parts
from modelyard.testing.fakes import Unmetered

ROWS = 5_000


def table(rows=ROWS):
    random = np.random.default_rng(0)
    mass = random.normal(size=rows).astype(np.float32)
    missing = random.random(rows) < 0.05
    island = pa.array([None if at % 17 == 0 else ("Biscoe", "Dream")[at % 2] for at in range(rows)])
    return pa.table({"id": np.arange(rows), "mass": pa.array(mass, mask=missing), "island": island, "unused": np.zeros(rows)})


@pytest.fixture
def score(tmp_path):
    model = tmp_path / "model.onnx"
    classifier(model, echo=False)

    def _score(path, folder="job", **spec):
        place = tmp_path / folder
        (place / "output").mkdir(parents=True, exist_ok=True)
        fixed = {
            "reference": "m@1",
            "entry": "model.onnx",
            "files": {"model.onnx": ""},
            "data": "",
            "filename": path.name,
            "dataset": "d@1",
        }
        context = JobContext(fixed | {"keep": ["id"], "rows": 700} | spec, place, {"data": path, "0": model})
        result = job.run(context, Unmetered(), Cluster())
        return context, result

    return _score


def wanted(given, model):
    session = ort.InferenceSession(model)
    mass = given["mass"].to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, 1)
    island = np.array([[word or ""] for word in given["island"].to_pylist()], object)
    return session.run(["label", "probabilities"], {"mass": mass, "island": island})


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_every_row_is_answered_once_in_the_order_of_the_file(score, tmp_path, form, monkeypatch):
    monkeypatch.setattr("modelyard.scoring.source._BLOCK", 20_000)
    given = table()
    path = tmp_path / f"t.{form}"
    if form == "parquet":
        pq.write_table(given, path, row_group_size=1_900)
    else:
        pacsv.write_csv(given, path)
    context, result = score(path)
    file = context.output / result["file"]
    found = pq.read_table(file) if form == "parquet" else pacsv.read_csv(file)
    assert result["rows"] == len(found) == ROWS
    assert result["shards"] > 3
    assert found["id"].to_pylist() == list(range(ROWS))
    labels, shares = wanted(given, str(tmp_path / "model.onnx"))
    assert found["label"].to_pylist() == labels.tolist()
    np.testing.assert_allclose(found[found.column_names[-1]].to_numpy(), shares[:, 1], atol=1e-6)
    assert context.told[-1][0] == "write"
    values, counts = np.unique(labels, return_counts=True)
    assert result["answers"] == {"label": {"counts": dict(zip(values, counts.tolist(), strict=True)), "others": 0}}


def test_what_was_answered_before_is_not_answered_again(score, tmp_path, monkeypatch):
    pq.write_table(table(), tmp_path / "t.parquet", row_group_size=1_400)
    whole, first = score(tmp_path / "t.parquet", "whole")
    put, stopped = Parts.put, []

    def put_some(self, number, made):
        if number >= 3:
            stopped.append(number)
            raise KeyboardInterrupt
        put(self, number, made)

    monkeypatch.setattr(Parts, "put", put_some)
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "t.parquet", "torn")
    monkeypatch.setattr(Parts, "put", put)
    (tmp_path / "torn/state/shards/00000007.part").write_bytes(b"torn")
    torn, second = score(tmp_path / "t.parquet", "torn")
    assert second["resumed_shards"] == 3
    assert (torn.output / second["file"]).read_bytes() == (whole.output / first["file"]).read_bytes()


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_no_more_than_a_few_shards_are_in_memory(score, tmp_path, form, monkeypatch):
    monkeypatch.setattr("modelyard.scoring.source._BLOCK", 20_000)
    rows, given = 200_000, table(200_000).select(["id", "mass", "island"])
    path, whole = tmp_path / f"t.{form}", given.nbytes
    if form == "parquet":
        pq.write_table(given, path, row_group_size=10_000)
    else:
        pacsv.write_csv(given, path)
    del given
    pa.default_memory_pool().release_unused()
    before, most, put = pa.total_allocated_bytes(), [], Parts.put

    def put_and_look(self, number, made):
        most.append(pa.total_allocated_bytes() - before)
        put(self, number, made)

    monkeypatch.setattr(Parts, "put", put_and_look)
    _, result = score(path, rows=2_500)
    assert result["rows"] == rows
    assert len(most) > 40
    assert max(most) < whole / 3, (max(most), whole)


def test_a_partitioned_result_is_a_file_a_shard(score, tmp_path):
    pq.write_table(table(), tmp_path / "t.parquet", row_group_size=2_000)
    context, result = score(tmp_path / "t.parquet", partitioned=True, form="csv")
    with zipfile.ZipFile(context.output / result["file"]) as archive:
        assert len(archive.namelist()) == result["shards"]
        assert archive.read(archive.namelist()[0]).startswith(b'"id","label"')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("island,mas\nDream,1\n", "no column 'mass'.*Did you mean 'mas'"),
        ("id,island,mass\n1,Dream,heavy\n", "column 3.*heavy"),
        ("id,island,mass\n1,Dream\n", "cannot be read"),
        ("id,island,mass\n", "no rows"),
    ],
)
def test_tables_that_cannot_be_answered_are_one_sentence(score, tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InvalidData, match=message) as caught:
        score(tmp_path / "t.csv")
    assert "\n" not in caught.value.message


def test_rows_are_not_blamed_for_what_a_cluster_loses(score, tmp_path, monkeypatch):
    def lose(*_):
        raise JobFailed("The Ray cluster lost what computes.")

    pacsv.write_csv(table(50), tmp_path / "t.csv")
    monkeypatch.setattr("modelyard.runtimes.onnx.OnnxModel.infer", lose)
    with pytest.raises(JobFailed, match=r"^The Ray cluster lost what computes\.$"):
        score(tmp_path / "t.csv")


def test_a_damaged_parquet_file_is_one_sentence(score, tmp_path):
    pq.write_table(table(50), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-30])
    with pytest.raises(InvalidData, match="cannot be read"):
        score(tmp_path / "t.parquet")

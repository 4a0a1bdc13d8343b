"""Batch prediction of a Parquet file against ONNX Runtime alone, in one process over all cores with the rows in memory already.

usage: python benchmarks/score/files.py [--rows N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier

from modelyard.engines.cluster import Cluster
from modelyard.jobs.folder import JobFolder
from modelyard.jobs.worker import JobContext
from modelyard.scoring.job import run
from modelyard.testing.fakes import Unmetered

COLUMNS = 12
AT_ONCE = 4_096


class Pace(NamedTuple):
    """Rows a second, and rows a second of processor time: what others do on the machine between two measurements moves the first."""

    wall: float
    processor: float


def make_model(folder: Path) -> Path:
    """Boosting with 100 rounds over 12 columns, a column an input, as versions trained here have them."""
    from onnx import TensorProto, compose, helper

    random = np.random.default_rng(0)
    features = random.normal(size=(4_000, COLUMNS)).astype(np.float32)
    fitted = HistGradientBoostingClassifier(max_iter=100, early_stopping=False).fit(features, features[:, 0] * features[:, 1] > 0)
    options = {id(fitted): {"zipmap": False}}
    core = to_onnx(
        fitted, initial_types=[("features", FloatTensorType([None, COLUMNS]))], options=options, target_opset={"": 19, "ai.onnx.ml": 3}
    )
    core = compose.add_prefix(core, "m.")
    names = [f"c{at}" for at in range(COLUMNS)]
    joined = helper.make_node("Concat", names, ["m.features"], axis=1)
    graph = helper.make_graph(
        [joined, *core.graph.node],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1]) for name in names],
        [helper.make_tensor_value_info("m.probabilities", TensorProto.FLOAT, ["rows", 2])],
        initializer=list(core.graph.initializer),
    )
    model = helper.make_model(graph, opset_imports=core.opset_import, ir_version=10)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def bare(path: Path, columns: dict[str, np.ndarray], rows: int) -> Pace:
    """ONNX Runtime over threads, nothing read and nothing written."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def answer(start: int) -> None:
        session.run(None, {name: values[start : start + AT_ONCE] for name, values in columns.items()})

    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(answer, range(0, rows, AT_ONCE)))
    return Pace(rows / (time.perf_counter() - began), rows / (time.process_time() - cpu))


def ours(folder: Path, model: Path, data: Path, rows: int) -> Pace:
    """The whole job, from file to file."""
    job = JobFolder(folder)
    spec = {"reference": "m@1", "entry": "model.onnx", "files": {"model.onnx": ""}, "data": "", "filename": "t.parquet", "dataset": "t@1"}
    job.prepare(spec, 1)
    began, cpu = time.perf_counter(), time.process_time()
    result = run(JobContext(spec, job.root, {"data": data, "0": model}), Unmetered(), Cluster())
    found = Pace(rows / (time.perf_counter() - began), rows / (time.process_time() - cpu))
    assert result["rows"] == rows
    job.forget()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = arguments.rows
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = make_model(place)
        random = np.random.default_rng(1)
        columns = {f"c{at}": random.normal(size=(rows, 1)).astype(np.float32) for at in range(COLUMNS)}
        data = place / "t.parquet"
        pq.write_table(pa.table({name: values[:, 0] for name, values in columns.items()}), data, row_group_size=131_072)
        rounds = [(bare(model, columns, rows), ours(place / str(at), model, data, rows)) for at in range(arguments.rounds)]
    print(f"{rows:,} rows x {COLUMNS} columns, {os.cpu_count()} cores, medians of {arguments.rounds} rounds in turn")
    for at, title in enumerate(("rows/s", "rows/s of processor")):
        alone, job = (statistics.median(one[way][at] for one in rounds) for way in (0, 1))
        shares = [one[1][at] / one[0][at] for one in rounds]
        told = ", ".join(f"{share:.0%}" for share in shares)
        print(f"ONNX Runtime alone {alone:>10,.0f} {title}; the job {job:>10,.0f}: {statistics.median(shares):.0%} ({told})")
    print(json.dumps(rounds))


if __name__ == "__main__":
    main()

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


def bare(path: Path, columns: dict[str, np.ndarray], rows: int) -> float:
    """Rows a second of ONNX Runtime over threads, nothing read and nothing written."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def answer(start: int) -> None:
        session.run(None, {name: values[start : start + AT_ONCE] for name, values in columns.items()})

    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(answer, range(0, rows, AT_ONCE)))
    return rows / (time.perf_counter() - began)


def ours(folder: Path, model: Path, data: Path, rows: int) -> float:
    """Rows a second of the whole job but the writing of its result in one file: reading, answering, storing shards."""
    job = JobFolder(folder)
    spec = {"reference": "m@1", "entry": "model.onnx", "files": {"model.onnx": ""}, "data": "", "filename": "t.parquet", "dataset": "t@1"}
    job.prepare(spec, 1)
    began = time.perf_counter()
    result = run(JobContext(spec, job.root, {"data": data, "0": model}), Unmetered(), Cluster())
    whole = time.perf_counter() - began
    assert result["rows"] == rows
    job.forget()
    return rows / whole


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
        found: dict[str, list[float]] = {"bare": [], "ours": []}
        for at in range(arguments.rounds):
            found["bare"].append(bare(model, columns, rows))
            found["ours"].append(ours(place / str(at), model, data, rows))
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(f"{rows:,} rows x {COLUMNS} columns, {os.cpu_count()} cores, median of {arguments.rounds}")
    print(f"ONNX Runtime alone, rows in memory    {middle['bare']:>12,.0f} rows/s")
    print(f"the job, from file to file            {middle['ours']:>12,.0f} rows/s   {middle['ours'] / middle['bare']:.0%}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Pushing a large model: memory of client and controller, time, and going on after the connection broke.

The model is a table of vectors whose weights lie in a file beside the graph. Its trial runs in a process of its own.

usage: python benchmarks/push.py [--megabytes 500]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from acceptance.test_kills import processes
from integration.control.test_resuming import CuttingProxy
from modelyard import Client
from modelyard.testing.platform import running_platform

WEIGHTS, WIDTH = "weights.bin", 1024


def write(folder: Path, size: int) -> Path:
    """The model's folder."""
    folder.mkdir()
    with (folder / WEIGHTS).open("wb") as file:
        for _ in range(size >> 20):
            file.write(np.random.default_rng().random((1 << 20) // 4, np.float32).tobytes())
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[size // 4 // WIDTH, WIDTH], data_location=TensorProto.EXTERNAL)
    entry = table.external_data.add()
    entry.key, entry.value = "location", WEIGHTS
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "row"], ["vector"])],
        "vectors",
        [helper.make_tensor_value_info("row", TensorProto.INT64, ["rows"])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["rows", WIDTH])],
        [table],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=500)
    size = parser.parse_args().megabytes << 20
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder) / "home", workers=1) as platform:
        model = write(Path(folder) / "model", size)
        (controller,) = processes(platform, "controller")
        own = psutil.Process()
        before, peaks, stop = (controller.memory_info().rss, own.memory_info().rss), [0, 0], threading.Event()

        def watch() -> None:
            while not stop.wait(0.02):
                peaks[0] = max(peaks[0], controller.memory_info().rss)
                peaks[1] = max(peaks[1], own.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        proxy = CuttingProxy(platform.url, after=size // 4, times=2)
        began = time.perf_counter()
        with Client(proxy.url, platform.admin_key, timeout=300) as client:
            done = client.models.push(model, "large")
        seconds = time.perf_counter() - began
        stop.set()
        watcher.join()
        proxy.close()
        weights = next(file for file in done.artifact.files if file.path == WEIGHTS)
        with (model / WEIGHTS).open("rb") as file:
            assert weights.digest == hashlib.file_digest(file, "sha256").hexdigest()
        assert weights.size == size
    print(f"{size >> 20} MiB in {seconds:.1f} s, the connection broken {2 - proxy.left} times")
    for name, at in (("controller", 0), ("client and proxy", 1)):
        print(f"{name:18} {before[at] >> 20:5} MiB before, {peaks[at] >> 20:5} MiB at most")


if __name__ == "__main__":
    main()

"""Pushing a large model: memory of client and controller, time, and going on after the connection broke.

The model is a table of vectors whose weights lie in a file beside the graph. Its trial runs in a process of its own.

usage: python benchmarks/push.py [--megabytes 500]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from acceptance.test_kills import processes
from integration.control.test_resuming import CuttingProxy
from modelyard import Client
from modelyard.testing.platform import COMMAND, running_platform

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
        proxy = CuttingProxy(platform.url, after=size // 4, times=2)
        before, began = controller.memory_info().rss, time.perf_counter()
        command = [*COMMAND, "push", str(model), "--name", "large", "--json"]
        client = psutil.Popen(command, env=platform.environment | {"MODELYARD_URL": proxy.url}, stdout=subprocess.PIPE)
        peaks = [before, 0]
        while client.is_running() and client.status() != psutil.STATUS_ZOMBIE:
            peaks[0] = max(peaks[0], controller.memory_info().rss)
            with suppress(psutil.NoSuchProcess):
                peaks[1] = max(peaks[1], client.memory_info().rss)
            time.sleep(0.02)
        answer, _ = client.communicate()
        seconds = time.perf_counter() - began
        proxy.close()
        with Client(platform.url, platform.admin_key) as reader:
            done = reader.models.version(f"large@{json.loads(answer)['version']}")
        weights = next(file for file in done.artifact.files if file.path == WEIGHTS)
        with (model / WEIGHTS).open("rb") as file:
            assert weights.digest == hashlib.file_digest(file, "sha256").hexdigest()
        assert weights.size == size
    print(f"{size >> 20} MiB in {seconds:.1f} s, the connection broken {2 - proxy.left} times")
    print(
        f"controller {before / 1e6:.0f} MB before, {peaks[0] / 1e6:.0f} MB at most; client (modelyard push) {peaks[1] / 1e6:.0f} MB at most"
    )


if __name__ == "__main__":
    main()

"""Loads and unloads a 50 MB model a thousand times, as a worker does whose versions leave memory, and watches the process's memory.

usage: python benchmarks/rollout/memory.py [--cycles 1000]      (prints a table, writes memory.json)

Two versions share a budget that has room for one, so every call of the other one loads it and lets the first one go.

The process uses its own copy of ONNX Runtime and NumPy: PSS counts a page of a file that others map as well only in part, so it would
move whenever somebody else who uses these libraries comes or goes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from modelyard.core.inference import InferRequest
from modelyard.core.models import Artifact, ArtifactFile, Profile
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.serving.batching import Batcher, BatchOptions, Identity
from modelyard.serving.loading import VersionLoader
from modelyard.serving.replica import Waiting
from modelyard.serving.residency import Residency
from modelyard.serving.statistics import CallStatistics
from modelyard.testing.fakes import Folders, served_version

MEGABYTES, WIDTH = 50, 256


def write_model(path: Path, seed: int) -> None:
    """An embedding: 50 MB of float32 weights in rows of 256, of which a call looks one up."""
    rows = MEGABYTES * 2**20 // (4 * WIDTH)
    weights = np.random.default_rng(seed).standard_normal((rows, WIDTH), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "x"], ["h"]), helper.make_node("ReduceMean", ["h"], ["y"], axes=[1], keepdims=1)],
        "embedding",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


OWN = "MODELYARD_BENCH_LIBRARIES"


def with_own_libraries() -> int:
    """Runs this program again with copies of the large libraries that nobody else maps."""
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder:
        for package in ("onnxruntime", "numpy", "numpy.libs"):
            place = next((Path(each) / package for each in sys.path if (Path(each) / package).is_dir()), None)
            if place is not None:
                shutil.copytree(place, Path(folder) / package)
        paths = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run([sys.executable, *sys.argv], env=os.environ | {OWN: folder, "PYTHONPATH": paths}).returncode


def memory_now() -> tuple[int, int]:
    """Bytes of the process: its proportional set, and what of that is its own (anonymous) memory."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return tuple(int(found[name].split()[0]) * 1024 for name in ("Pss", "Pss_Anon"))


async def cycle(folder: Path, cycles: int) -> list[tuple[int, int, int]]:
    loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1)
    profile = Profile(row_independent=True, inline=True, memory_bytes=MEGABYTES * 2**20)
    versions, batchers = {}, {}
    loader = VersionLoader(Folders({str(number): folder / str(number) for number in (1, 2)}))
    residency = Residency(int(1.5 * MEGABYTES * 2**20), loader.load, thread, loop)
    for number in (1, 2):
        file = ArtifactFile(path="model.onnx", digest="", size=(folder / str(number) / "model.onnx").stat().st_size)
        opened = RUNTIMES.get("onnx").load(folder / str(number), "model.onnx", LoadOptions())
        version = msgspec.structs.replace(
            served_version(number, opened.signature, profile=profile),
            artifact=Artifact(format="onnx", digest=str(number), files=(file,), entry="model.onnx"),
        )
        opened.close()
        versions[number] = version
        resident = residency.admit(version, await loop.run_in_executor(thread, loader.load, version))
        identity = Identity("m", number, number, version.signature)
        batchers[number] = Batcher(resident, identity, profile, executor=ThreadPoolExecutor(1), options=BatchOptions(), loop=loop)
        resident.holder = batchers[number]
    row, seen = np.ones(1, np.int64), []
    for turn in range(1, cycles + 1):
        answer = loop.create_future()
        number = 1 + turn % 2
        batchers[number].submit(Waiting({"x": row}, (), 1, time.monotonic_ns(), InferRequest({}), CallStatistics(), answer.set_result))
        outcome = await answer
        if isinstance(outcome, Exception):
            raise outcome
        if turn == 100 or turn % max(1, cycles // 10) == 0:
            await loop.run_in_executor(thread, int)  # what left memory is closed
            seen.append((turn, *memory_now()))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=1000)
    cycles = parser.parse_args().cycles
    if OWN not in os.environ:
        sys.exit(with_own_libraries())
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as name:
        folder = Path(name)
        for number in (1, 2):
            (folder / str(number)).mkdir()
            write_model(folder / str(number) / "model.onnx", number)
        began = time.perf_counter()
        seen = asyncio.run(cycle(folder, cycles))
        seconds = time.perf_counter() - began
    _, pss, own = next(each for each in seen if each[0] >= min(100, cycles))
    for turn, now, now_own in seen:
        print(
            f"cycle {turn:5d}   PSS {now / 2**20:7.1f} MiB ({now / pss:.3f} of cycle 100)"
            f"   its own {now_own / 2**20:7.1f} MiB ({now_own / own:.3f})"
        )
    print(f"{seconds / cycles * 1000:.1f} ms a cycle (load, warm, call, unload)")
    ends = {"pss_end_to_100": seen[-1][1] / pss, "own_end_to_100": seen[-1][2] / own, "ms_per_cycle": seconds / cycles * 1000}
    Path("memory.json").write_text(json.dumps({"cycles": cycles, "megabytes": MEGABYTES, "seen": seen, **ends}, indent=1))


if __name__ == "__main__":
    main()

"""Rows a second of the `encoder` model through the product against ONNX Runtime alone, on the same cores.

usage: python benchmarks/serve/encoder.py [--rounds 3] [--seconds 12]

Alone: one session, as many threads as cores that each run batches of one size, rows in memory already; the fastest of the sizes counts.
Ours: wrk with 32 connections of one row each, and with 4 connections of 32 rows each, JSON, keys and records as always. Both in turns;
the load program and what it still waits for at its end count against us.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import onnxruntime as ort

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from measure import Load, loads, rows_of, wrk  # noqa: E402  # beside this file, not installed
from platform_under_test import platform  # noqa: E402  # beside its folder

CORES = os.cpu_count() or 1
SIZES = (1, 8, 16, 32, 64)
"""Rows of a batch."""
CASES = {"c32": (1, 32), "b32": (32, 4)}
"""Rows of a call, and connections."""


def alone(session: ort.InferenceSession, size: int, seconds: float) -> float:
    """Rows a second in batches of ``size``."""
    batch = rows_of("encoder", size)
    until = time.perf_counter() + seconds

    def work(_: int) -> int:
        done = 0
        while time.perf_counter() < until:
            session.run(None, {"x": batch})
            done += size
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(CORES) as threads:
        rows = sum(threads.map(work, range(CORES)))
    return rows / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, platform(workers=CORES) as ours:
        subprocess.run([sys.executable, str(HERE.parent / "models.py"), folder], check=True, stdout=subprocess.DEVNULL)
        model = Path(folder) / "encoder.onnx"
        ours.json("push", str(model), "--name", "encoder")
        ours.json("deploy", "encoder@1")
        key = ours.json("keys", "create")["key"]
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = 1
        session = ort.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
        by_size = {size: alone(session, size, 2.0) for size in SIZES}
        best = max(by_size, key=lambda size: by_size[size])
        print("alone, rows/s by rows of a batch:", {size: round(rate, 1) for size, rate in by_size.items()})
        for case, (rows, connections) in CASES.items():
            load: Load = replace(loads("encoder", case, ours, key, model, ("", 0))[0], connections=connections, server=0)
            wrk(load, 4)
            rounds = [(wrk(load, options.seconds)["rps"] * rows, alone(session, best, options.seconds / 2)) for _ in range(options.rounds)]
            ratio = statistics.median(a / b for a, b in rounds)
            mine, theirs = (statistics.median(side) for side in zip(*rounds, strict=True))
            print(f"{case}: {mine:.1f} rows/s through the product, {theirs:.1f} alone (batches of {best}): {ratio:.3f}", flush=True)


if __name__ == "__main__":
    main()

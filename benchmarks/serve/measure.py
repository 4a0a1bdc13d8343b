"""The running product against the hand-written FastAPI server, interleaved; keys and usage records on.

usage: python benchmarks/serve/measure.py [--rounds 3] [--seconds 8] [--models mlp,cifar,encoder] [--cases c32,c1,b32,bin,unique]

c32: one row, 32 connections · c1: one row, one connection · b32: 32 rows, 32 connections · bin: one row as a binary tensor
(against the same FastAPI JSON figure) · unique: c32 with unique request ids, trace headers and 100 keys in rotation.
Needs wrk (Debian: apt-get install wrk). Prints medians over rounds and the median of per-round ratios, of rates and of the processor
time of a call over all processes of either server, which other work on the machine disturbs less; writes benchmarks/out/serve.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from platform_under_test import cpu_seconds, platform, pss_bytes  # noqa: E402  # beside this folder, not installed

from modelyard.sdk.client import Client  # noqa: E402  # after the path
from modelyard.testing.platform import RunningPlatform, free_port, wait_until_answers  # noqa: E402  # after the path

SHAPES = {"mlp": (16,), "cifar": (3, 32, 32), "encoder": (64,)}


@dataclass
class Load:
    """What wrk sends: to where, what, and over how many connections."""

    url: str
    headers: dict[str, str]
    body: bytes
    connections: int
    keys: Path | None = None
    """A file of keys to rotate over."""
    unique: bool = False
    """Whether each call has a request id and a trace header of its own."""
    server: int = 0
    """Process id of what answers, where the processor time of it and all below it is asked for."""


def rows_of(model: str, rows: int) -> np.ndarray:
    rng = np.random.default_rng(rows)
    if model == "encoder":
        return rng.integers(0, 30522, (rows, *SHAPES[model]), dtype=np.int64)
    return np.round(rng.random((rows, *SHAPES[model])), 4).astype(np.float32)


def plain(x: np.ndarray) -> list:
    return x.tolist() if x.dtype == np.int64 else np.round(x.astype(np.float64), 4).tolist()


def open_inference(model: str, x: np.ndarray, binary: bool) -> tuple[dict[str, str], bytes]:
    tensor: dict = {"name": "x", "shape": list(x.shape), "datatype": "INT64" if model == "encoder" else "FP32"}
    if not binary:
        tensor["data"] = plain(x.reshape(-1))
        return {"content-type": "application/json"}, json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
    tensor["parameters"] = {"binary_data_size": x.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}, separators=(",", ":")).encode()
    return {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}, head + x.tobytes()


def wrk(load: Load, seconds: float) -> dict:
    """One run; requests per second, p50 and p99 in milliseconds. Any answer but 2xx ends the benchmark."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(load.body)
        file.flush()
        environment = os.environ | {"BODY_FILE": file.name, "HEADERS": "\n".join(f"{k}: {v}" for k, v in load.headers.items())}
        environment |= {"UNIQUE": "1"} if load.unique else {}
        environment |= {"KEYS_FILE": str(load.keys)} if load.keys else {}
        command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / "post.lua"), load.url]
        before = cpu_seconds(load.server) if load.server else 0.0
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
        used = cpu_seconds(load.server) - before if load.server else 0.0
    got = json.loads(out[out.index("RESULT ") + 7 :])
    if got["bad"] or got["socket"]:
        raise SystemExit(f"{load.url}: {got['bad']} answers were errors, {got['socket']} connections failed\n{out}")
    if not got["requests"]:
        raise SystemExit(f"{load.url}: no answer in {seconds} s; give it more with --seconds")
    rate = got["requests"] / got["us"] * 1e6
    return {"rps": rate, "p50_ms": got["p50_ms"], "p99_ms": got["p99_ms"], "cpu_us": used / got["requests"] * 1e6}


@contextlib.contextmanager
def fastapi(model_file: Path, model: str) -> Iterator[tuple[str, int]]:
    port = free_port()
    environment = os.environ | {"PORT": str(port), "WORKERS": "2", "MODEL_FILE": str(model_file)}
    environment |= {"DTYPE": "int64" if model == "encoder" else "float32"}
    process = subprocess.Popen([sys.executable, "fastapi_server.py"], cwd=HERE, env=environment)
    try:
        wait_until_answers(f"http://127.0.0.1:{port}/openapi.json", process)
        yield f"http://127.0.0.1:{port}/predict", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def loads(model: str, case: str, ours: RunningPlatform, key: str, keys: Path, theirs: tuple[str, int]) -> tuple[Load, Load]:
    """The pair of loads of one case: ours and the FastAPI server's."""
    x = rows_of(model, 32 if case == "b32" else 1)
    connections = 1 if case == "c1" else 32
    headers, body = open_inference(model, x, binary=case == "bin")
    headers["authorization"] = f"Bearer {key}"
    url = f"{ours.inference}/v2/models/{model}/infer"
    rotating = keys if case == "unique" else None
    mine = Load(url, headers, body, connections, rotating, unique=case == "unique", server=ours.process.pid)
    other = json.dumps({"instances": plain(x)}, separators=(",", ":")).encode()
    return mine, Load(theirs[0], {"content-type": "application/json"}, other, connections, server=theirs[1])


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--models", default="mlp,cifar,encoder")
    parser.add_argument("--cases", default="c32,c1,b32,bin,unique")
    options = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as folder, platform() as ours:
        models = Path(folder)
        subprocess.run([sys.executable, str(HERE.parent / "models.py"), folder], check=True, stdout=subprocess.DEVNULL)
        for model in options.models.split(","):
            ours.json("push", str(models / f"{model}.onnx"), "--name", model)
            ours.json("deploy", f"{model}@1")
        key = ours.json("keys", "create")["key"]
        keys = models / "keys.txt"
        with Client(ours.url, ours.admin_key) as client:
            keys.write_text("\n".join([client.keys.create().key for _ in range(100 if "unique" in options.cases else 1)]))
        for model in options.models.split(","):
            with fastapi(models / f"{model}.onnx", model) as theirs:
                for case in options.cases.split(","):
                    pair = loads(model, case, ours, key, keys, theirs)
                    for load in pair:
                        wrk(load, 2)
                    rounds = [(wrk(pair[0], options.seconds), wrk(pair[1], options.seconds)) for _ in range(options.rounds)]
                    table.append(report(model, case, rounds))
        print(f"memory: PSS {pss_bytes(ours.process.pid) / 1e6:.0f} MB for supervisor, controller and two workers serving {options.models}")
    out = HERE.parent / "out"
    out.mkdir(exist_ok=True)
    (out / "serve.json").write_text(json.dumps(table, indent=1))


def report(model: str, case: str, rounds: list[tuple[dict, dict]]) -> dict:
    """Prints and returns one row: medians, and the median of per-round ratios (of rates; of p50 for one connection)."""

    def middle(side: int, name: str) -> float:
        return statistics.median(r[side][name] for r in rounds)

    row = {
        "model": model,
        "case": case,
        "rps": round(middle(0, "rps")),
        "fastapi_rps": round(middle(1, "rps")),
        "ratio": round(statistics.median(a["rps"] / b["rps"] for a, b in rounds), 2),
        "p50_ms": middle(0, "p50_ms"),
        "p99_ms": middle(0, "p99_ms"),
        "fastapi_p50_ms": middle(1, "p50_ms"),
        "cpu_us": round(middle(0, "cpu_us"), 1),
        "fastapi_cpu_us": round(middle(1, "cpu_us"), 1),
        "cpu_ratio": round(statistics.median(b["cpu_us"] / a["cpu_us"] for a, b in rounds), 2),
        "p50_ratio": round(statistics.median(a["p50_ms"] / b["p50_ms"] for a, b in rounds), 2),
    }
    print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)
    return row


if __name__ == "__main__":
    main()

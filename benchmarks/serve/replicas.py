"""What a replica process costs a call: the hop, the rate of a slow model, and the first call of one that sleeps.

usage: python benchmarks/serve/replicas.py [--json FILE]
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import statistics
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.testing.platform import RunningPlatform, running_platform

ROUNDS, CALLS = 7, 400
SLOW = """
import time


class Model:
    ended = 0.0

    def predict(self, x: float) -> float:  # the seconds since it ended the last time
        began = time.perf_counter()
        while time.perf_counter() < began + 0.005:
            pass
        idle, self.ended = began - self.ended, time.perf_counter()
        return idle
"""
IDLE = re.compile(rb'"data":\[([^]]+)]')
ADDER = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]})
ROW = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]})


class Caller:
    """One connection."""

    def __init__(self, platform: RunningPlatform, name: str, body: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(platform.inference).netloc, timeout=60)
        self._path, self._body = f"/v2/models/{name}/infer", body
        self._headers = {"authorization": f"Bearer {platform.admin_key}", "content-type": "application/json"}

    def call(self) -> float:
        """Milliseconds of one call."""
        began = time.perf_counter()
        self.answer()
        return (time.perf_counter() - began) * 1000

    def answer(self) -> bytes:
        """What is answered."""
        self._connection.request("POST", self._path, self._body, self._headers)
        reply = self._connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise RuntimeError(text.decode())
        return text


def hop(platform: RunningPlatform, client: Client, folder: Path) -> dict[str, float]:
    """p50 and p99 of one connection, rounds of inline and replica in turn."""
    for name, amount, policy in (("inline", 1.0, {}), ("own", 2.0, {"isolation": "own"})):
        client.push(write_adder(folder / f"{name}.onnx", amount), name)
        client.deployments.put(name, [f"{name}@1"], policy=policy)
        client.deployments.wait(name, timeout=60)
    callers = {name: Caller(platform, name, ADDER) for name in ("inline", "own")}
    times: dict[str, list[float]] = {"inline": [], "own": []}
    for _ in range(ROUNDS):
        for name, caller in callers.items():
            times[name] += [caller.call() for _ in range(CALLS)]
    found = {}
    for name, values in times.items():
        found[f"{name}_p50_ms"] = statistics.median(values)
        found[f"{name}_p99_ms"] = statistics.quantiles(values, n=100)[98]
    return found | {"hop_p50_ms": found["own_p50_ms"] - found["inline_p50_ms"]}


def slow_rate(platform: RunningPlatform, client: Client, folder: Path, seconds: float = 6.0) -> dict[str, float]:
    """Calls per second of a predict of 5 ms: alone in a loop, and through one replica with four callers; how long it idled between."""
    path = folder / "slow.py"
    path.write_text(textwrap.dedent(SLOW))
    space: dict[str, object] = {}
    exec(SLOW, space)
    predict = space["Model"]().predict  # type: ignore[operator]
    began, alone = time.perf_counter(), 0
    while time.perf_counter() - began < seconds / 2:
        predict(1.0)
        alone += 1
    alone_rate = alone / (time.perf_counter() - began)
    client.push(path, "slow")
    client.deployments.put("slow", ["slow@1"])
    client.deployments.wait("slow", timeout=60)
    idle: list[float] = []
    stop = time.perf_counter() + seconds

    def run() -> None:
        caller = Caller(platform, "slow", ROW)
        while time.perf_counter() < stop:
            idle.append(float(IDLE.search(caller.answer())[1]))  # type: ignore[index]

    began = time.perf_counter()
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(idle) / (time.perf_counter() - began)
    return {
        "alone_per_s": alone_rate,
        "served_per_s": rate,
        "share": rate / alone_rate,
        "idle_p50_ms": statistics.median(idle) * 1000,
        "idle_mean_ms": statistics.mean(idle[4:]) * 1000,
        "late_share": sum(value > 0.001 for value in idle[4:]) / len(idle),  # its next call was not there, or something else ran
    }


def cold(platform: RunningPlatform, client: Client) -> dict[str, float]:
    """Milliseconds of the first call to a Python model that sleeps."""
    times = []
    client.deployments.put("slow", ["slow@1"], policy={"replicas": {"min": 0, "max": 1, "idle_seconds": 0.2}})
    for _ in range(5):
        time.sleep(2.5)
        times.append(Caller(platform, "slow", ROW).call())
    return {"first_call_ms": statistics.median(times), "worst_ms": max(times)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_platform(Path(folder) / "home", workers=1) as platform,
        Client(platform.url, platform.admin_key, timeout=300) as client,
    ):
        found = {
            "hop": hop(platform, client, Path(folder)),
            "slow": slow_rate(platform, client, Path(folder)),
            "cold": cold(platform, client),
        }
    for part, values in found.items():
        for name, value in values.items():
            print(f"{part:6} {name:16} {value:10.3f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

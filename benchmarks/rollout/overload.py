"""Offers a deployment with an objective more than it can do, and counts what is answered in time.

usage: python benchmarks/rollout/overload.py [--seconds 3] [--rounds 5] [--layers 4] [--together]

Prints a table, writes benchmarks/out/overload.json.

A few connections in a closed loop tell where to begin. Then calls are sent open-loop, at given times whether or not earlier ones are
answered, at rates that grow until goodput, answers within the objective, does not; and last at the rate of the best goodput and at four
times that goodput in turns, because machines change their pace.

The client has a core of its own and the server the others, or what the client needs for more calls would be taken from the server as if
that could do less; ``--together`` lets them share all cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop
from onnx import TensorProto, helper, numpy_helper, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from platform_under_test import platform

from modelyard import Client

OBJECTIVE_MS = 100
WIDTH, PLACES = 1024, 16


def write_model(path: Path, layers: int) -> None:
    """Dense layers of 1024 units on 16 places of a row: milliseconds to compute, which batches do not shorten, and nothing to decode."""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(np.linspace(0.5, 1.5, PLACES, dtype=np.float32).reshape(1, PLACES, 1), "places")]
    weights.append(numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "three"))
    nodes = [helper.make_node("Reshape", ["x", "three"], ["r"]), helper.make_node("Mul", ["r", "places"], ["t"])]
    name = "t"
    for layer in range(layers):
        rows = 1 if layer == 0 else WIDTH
        weights.append(numpy_helper.from_array((random.standard_normal((rows, WIDTH)) / 32).astype(np.float32), f"w{layer}"))
        nodes += [helper.make_node("MatMul", [name, f"w{layer}"], [f"h{layer}"]), helper.make_node("Tanh", [f"h{layer}"], [f"t{layer}"])]
        name = f"t{layer}"
    nodes += [
        helper.make_node("ReduceMean", [name], ["m"], axes=[2], keepdims=0),
        helper.make_node("ReduceMean", ["m"], ["y"], axes=[1], keepdims=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])]
    graph = helper.make_graph(nodes, "deep", inputs, outputs, weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


class Caller(asyncio.Protocol):
    """One connection of the client; free while no call is under way."""

    def __init__(self, run) -> None:
        self.run, self.data, self.due = run, b"", 0.0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def send(self, due: float) -> None:
        self.due = due
        self.transport.write(self.run.request)

    def data_received(self, data: bytes) -> None:
        if not self.data and data.endswith(b"}"):  # mostly the whole answer, a JSON object; the client's time is taken from the server
            self.run.answered(self, int(data[9:12]), time.perf_counter() - self.due)
            return
        self.data += data
        head, mark, body = self.data.partition(b"\r\n\r\n")
        if mark and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            status, self.data = int(head[9:12]), b""
            self.run.answered(self, status, time.perf_counter() - self.due)


class Run:
    """Calls at given times over a pool of connections. A call that finds none free waits for one; its time counts from when it was due."""

    def __init__(self, request: bytes) -> None:
        self.request, self.free, self.late = request, [], []
        self.taken, self.refused, self.failed = [], 0, 0

    def answered(self, caller: Caller, status: int, seconds: float) -> None:
        if status == 200:
            self.taken.append(seconds)
        elif status in {429, 503}:
            self.refused += 1
        else:
            self.failed += 1
        if self.late:
            caller.send(self.late.pop(0))
        else:
            self.free.append(caller)

    async def open_loop(self, host: str, port: int, rate: float, seconds: float, connections: int) -> dict:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, caller = await loop.create_connection(lambda: Caller(self), host, port)
            self.free.append(caller)
        times = np.cumsum(np.random.default_rng(1).exponential(1 / rate, int(rate * seconds)))
        began = time.perf_counter()
        for due in times:
            wait = began + due - time.perf_counter()
            if wait > 0.0005:
                await asyncio.sleep(wait)
            if self.free:
                self.free.pop().send(began + due)
            else:
                self.late.append(began + due)
        await asyncio.sleep(1.0)
        taken = np.sort(np.array(self.taken)) * 1000
        good = int((taken <= OBJECTIVE_MS).sum())
        return {
            "offered_per_s": len(times) / seconds,
            "accepted_per_s": len(taken) / seconds,
            "goodput_per_s": good / seconds,
            "refused": self.refused,
            "failed": self.failed,
            "p50_ms": float(np.quantile(taken, 0.5)),
            "p99_ms": float(np.quantile(taken, 0.99)),
        }

    async def closed_loop(self, host: str, port: int, connections: int, seconds: float) -> float:
        loop = asyncio.get_running_loop()
        self.answered = self._again
        until = self.until = time.perf_counter() + seconds
        for _ in range(connections):
            _, caller = await loop.create_connection(lambda: Caller(self), host, port)
            caller.send(time.perf_counter())
        await asyncio.sleep(until - time.perf_counter() + 0.1)
        return len(self.taken) / seconds

    def _again(self, caller: Caller, status: int, seconds: float) -> None:
        if status == 200:
            self.taken.append(seconds)
        if time.perf_counter() < self.until:
            caller.send(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4, help="of the model: a row takes a third of a millisecond for each, at full speed")
    parser.add_argument("--together", action="store_true")
    options = parser.parse_args()
    seconds = options.seconds
    apart = not options.together and (os.cpu_count() or 1) > 1 and hasattr(os, "sched_setaffinity")
    *servers, own = sorted(os.sched_getaffinity(0)) if apart else [0]
    if apart:
        os.sched_setaffinity(0, servers)  # the platform inherits it
    with (
        tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder,
        platform(workers=1) as it,
        Client(it.url, it.admin_key) as client,
    ):
        if apart:
            os.sched_setaffinity(0, {own})
        path = Path(folder) / "deep.onnx"
        write_model(path, options.layers)
        client.push(path, "deep")
        client.deployments.put("deep", ["deep@1"], policy={"objective_ms": OBJECTIVE_MS})
        client.deployments.wait("deep")
        body = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[0.5]}]}'
        head = (
            f"POST /v2/models/deep/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {it.admin_key}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        request = head.encode() + body
        host, _, port = it.inference.removeprefix("http://").partition(":")
        base = max(uvloop.run(Run(request).closed_loop(host, int(port), number, 2.0)) for number in (4, 8))
        rows = []

        def offered(rate: float) -> float:
            found = uvloop.run(Run(request).open_loop(host, int(port), rate, seconds, 512))
            rows.append(found)
            print(
                f"offered {found['offered_per_s']:6.0f}/s  goodput {found['goodput_per_s']:6.0f}/s  "
                f"p50 {found['p50_ms']:6.1f} ms  p99 {found['p99_ms']:6.1f} ms  refused {found['refused']}  failed {found['failed']}",
                flush=True,
            )
            return found["goodput_per_s"]

        peak = max((offered(factor * base), factor * base) for factor in (0.5, 1.0, 1.5, 2.0, 3.0))
        print("in turns, at the rate of the best goodput and at four times that goodput:")
        turns = [(offered(peak[1]), offered(4 * peak[0])) for _ in range(options.rounds)]
    ratio = statistics.median(last / best for best, last in turns)
    p99 = statistics.median(row["p99_ms"] for row in rows[-1 : -2 * options.rounds : -2])
    print(
        f"goodput at 4 × the best is {ratio:.2f} of its peak; p99 of accepted calls is {p99 / OBJECTIVE_MS:.2f} × the objective (medians)"
    )
    folder = Path(__file__).resolve().parents[1] / "out"
    folder.mkdir(exist_ok=True)
    (folder / "overload.json").write_text(
        json.dumps({"objective_ms": OBJECTIVE_MS, "closed": base, "open": rows, "ratio": ratio, "p99_ms": p99}, indent=1)
    )


if __name__ == "__main__":
    main()

"""How evenly workers of the running product share the work, at calls that cost the same and at calls that do not.

usage: python benchmarks/listening/product.py [--workers 2 4] [--connections 8 16 32] [--rounds 3] [--seconds 3] [--warm 4]

Kept connections send calls of one row (``equal``), or every other one calls of ``--rows`` rows (``mixed``). ``busy`` sends as fast as
answers come, ``paced`` so many calls a second altogether that the cores are half idle: then nothing but the choice of workers makes
their work even. Work is processor time of the worker's process. Each round has new connections, and is measured once they have been open
for ``--warm`` seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import uvloop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from platform_under_test import platform  # noqa: E402  # beside this folder, not installed

from modelyard import Client  # noqa: E402  # after the path

CASES = ("equal busy", "mixed busy", "mixed paced")


class Caller(asyncio.Protocol):
    """One client that keeps its connection, and opens another one when the server ends it."""

    def __init__(self, load: Load, request: bytes) -> None:
        self.load, self.request, self.data = load, request, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if not self.load.over and not self.transport.is_closing():
            self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, mark, body = self.data.partition(b"\r\n\r\n")
        lower = head.lower()
        if not mark or len(body) < int(lower.partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        self.data = b""
        self.load.answered += 1
        self.load.failed += not head.startswith(b"HTTP/1.1 200")
        if b"connection: close" in lower:
            self.load.moved += 1
            self.transport.close()
            self.load.opening = [*self.load.opening[-64:], asyncio.ensure_future(self.load.open(self.request, self.load.pause))]
        elif self.load.pause:
            asyncio.get_running_loop().call_later(self.load.pause, self.send)
        else:
            self.send()


class Load:
    """Some connections and what they send."""

    def __init__(self, host: str, port: int, pause: float) -> None:
        self.host, self.port, self.pause = host, port, pause
        self.answered = self.failed = self.moved = 0
        self.over = False
        self.callers: list[Caller] = []
        self.opening: list[asyncio.Future[None]] = []

    async def open(self, request: bytes, after: float = 0.0) -> None:
        await asyncio.sleep(after)
        if not self.over:
            _, caller = await asyncio.get_running_loop().create_connection(lambda: Caller(self, request), self.host, self.port)
            self.callers.append(caller)

    async def run(self, requests: list[bytes], warm: float, seconds: float, spent) -> dict:
        for request in requests:
            await self.open(request)
        await asyncio.sleep(warm)
        before, answered, moved = spent(), self.answered, self.moved
        await asyncio.sleep(seconds)
        after = spent()
        self.over = True
        work = [after[pid] - before[pid] for pid in before]
        rate = (self.answered - answered) / seconds
        for caller in self.callers:
            caller.transport.close()
        await asyncio.sleep(0.3)
        return {
            "rate": rate,
            "spread": max(work) / (sum(work) / len(work)),
            "cores": sum(work) / seconds,
            "moved": moved,
            "moved_late": self.moved - moved,
            "failed": self.failed,
        }


def request_of(key: str, rows: int) -> bytes:
    data = [round(0.01 * (number % 97), 2) for number in range(rows * 16)]
    body = json.dumps({"inputs": [{"name": "x", "shape": [rows, 16], "datatype": "FP32", "data": data}]}).encode()
    head = f"POST /v2/models/mlp/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def spent_by_workers(pid: int):
    """A function that tells the processor time of each worker's process."""
    workers = [each for each in psutil.Process(pid).children(recursive=True) if "modelyard.server.entrypoints.worker" in each.cmdline()]
    return lambda: {worker.pid: sum(worker.cpu_times()[:2]) for worker in workers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--connections", type=int, nargs="*", default=[8, 16, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warm", type=float, default=4.0)
    parser.add_argument("--rate", type=float, default=1500.0, help="calls a second of all connections, where they are paced")
    parser.add_argument("--rows", type=int, default=64, help="of the long calls")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    options = parser.parse_args()
    rows = []
    print("| workers | connections | calls | calls/s | cores | busiest / mean: median (worst) | moved | failed |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder:
        subprocess.run([sys.executable, str(HERE.parent / "models.py"), folder], check=True, stdout=subprocess.DEVNULL)
        for workers in options.workers:
            with platform(workers=workers) as it, Client(it.url, it.admin_key) as client:
                client.push(Path(folder) / "mlp.onnx", "mlp")
                client.deploy("mlp@1")
                client.deployments.wait("mlp")
                host, _, port = it.inference.removeprefix("http://").partition(":")
                short, long = request_of(it.admin_key, 1), request_of(it.admin_key, options.rows)
                found: dict[tuple[int, str], list[dict]] = {}
                for _ in range(options.rounds):
                    for connections in options.connections:
                        for case in options.cases:
                            requests = [long if "mixed" in case and place % 2 else short for place in range(connections)]
                            load = Load(host, int(port), connections / options.rate if "paced" in case else 0.0)
                            run = load.run(requests, options.warm, options.seconds, spent_by_workers(it.process.pid))
                            found.setdefault((connections, case), []).append(uvloop.run(run))
                for (connections, case), rounds in sorted(found.items()):
                    row = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
                    worst = max(one["spread"] for one in rounds)
                    failed = sum(one["failed"] for one in rounds)
                    rows.append({"workers": workers, "connections": connections, "case": case, "rounds": rounds} | row)
                    figures = f"{row['rate']:,.0f} | {row['cores']:.2f} | {row['spread']:.2f} ({worst:.2f})"
                    moved = f"{row['moved']:.0f}, then {row['moved_late']:.0f}"
                    print(f"| {workers} | {connections} | {case} | {figures} | {moved} | {failed} |", flush=True)
    out = HERE.parent / "out"
    out.mkdir(exist_ok=True)
    (out / "listening-product.json").write_text(json.dumps({"options": vars(options), "cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

"""What one `mlp` call costs a worker in processor time, without sockets: the real front, handler, gate, journal and model.

usage: python benchmarks/serve/cpu_per_call.py [--calls 20000] [--connections 32] [--profile FILE] [--set MODELYARD_ACCESS_LOG=no]

A platform publishes the model and stops; then a worker is put together in this process, and some in-memory connections (32) each get
one request per turn of the loop. Prints the least and the median of ten slices (the least is the steadiest on a busy machine).
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from measure import open_inference, rows_of  # noqa: E402  # beside this file, not installed

from modelyard.server.channel import Handover  # noqa: E402  # after the path
from modelyard.server.settings_reading import assemble  # noqa: E402  # after the path
from modelyard.server.wiring.worker import build  # noqa: E402  # after the path
from modelyard.testing.platform import running_platform  # noqa: E402  # after the path

SLICES = 10


class Wire(asyncio.Transport):
    """Takes what is written and counts the answers."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.last = b""

    def write(self, data: bytes) -> None:
        self.last = data

    def writelines(self, parts: list[bytes]) -> None:
        self.last = b"".join(parts)

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        raise SystemExit(f"the connection was cut off; the last answer was {self.last!r}")

    close = abort


async def measure(home: Path, request: bytes, options: argparse.Namespace) -> list[float]:
    calls, profile, environment, connections = options.calls, options.profile, options.set, options.connections
    listener = socket.create_server(("127.0.0.1", 0))
    settings = assemble(dict(pair.split("=", 1) for pair in environment), {"home": str(home), "workers": 1}).settings
    worker = build(settings, Handover(settings={}, parent=0, name="bench", descriptor=listener.detach(), boot="0" * 32))
    following = asyncio.create_task(worker.reconciler.run())
    await worker.reconciler.settled.wait()
    wires = []
    for _ in range(connections):
        connection, wire = worker.front.new_connection(), Wire()
        connection.connection_made(wire)
        wires.append((connection, wire))
    costs = []
    profiler = cProfile.Profile() if profile else None
    for number in range(SLICES + 1):
        if profiler is not None and number:
            profiler.enable()
        began = time.process_time()
        for _ in range(calls // SLICES // connections):
            for connection, _wire in wires:
                connection.data_received(request)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        costs.append((time.process_time() - began) / (calls // SLICES // connections * connections) * 1e6)
        if profiler is not None:
            profiler.disable()
    if profiler is not None:
        profiler.dump_stats(profile)
    if b" 200 OK" not in wires[0][1].last:
        raise SystemExit(f"not answered: {wires[0][1].last!r}")
    following.cancel()
    return costs[1:]


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=32, help="calls in each turn of the loop, which share a batch")
    parser.add_argument("--profile", default="")
    parser.add_argument("--set", action="append", default=[], help="a setting, like MODELYARD_ACCESS_LOG=no")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder:
        home = Path(folder) / "home"
        subprocess.run([sys.executable, str(HERE.parent / "models.py"), folder], check=True, stdout=subprocess.DEVNULL)
        with running_platform(home, workers=1) as platform:
            platform.json("push", f"{folder}/mlp.onnx", "--name", "mlp")
            platform.json("deploy", "mlp@1")
            key = platform.json("keys", "create")["key"]
        headers, body = open_inference("mlp", rows_of("mlp", 1), binary=False)
        headers |= {"host": "127.0.0.1:8000", "authorization": f"Bearer {key}", "content-length": str(len(body))}
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"POST /v2/models/mlp/infer HTTP/1.1\r\n{fields}\r\n".encode() + body
        costs = uvloop.run(measure(home, request, options))
    print(f"processor time of a call: least {min(costs):.1f} us, median {statistics.median(costs):.1f} us")


if __name__ == "__main__":
    main()

"""What one `mlp` call costs a worker in processor time, without sockets: the real front, handler, gate, journal and model.

usage: python benchmarks/serve/cpu_per_call.py [--calls 20000] [--connections 32] [--profile FILE] [--set MODELYARD_ACCESS_LOG=no]
       python benchmarks/serve/cpu_per_call.py --gate

A platform publishes the model and stops; then a worker is put together in this process, and some in-memory connections (32) each get
one request per turn of the loop. Slices are short and many, because on a busy machine only the quietest moments say what the code
costs: the least and the median of them are printed.

``--gate`` interleaves slices in one run: the gate bypassed (no key, limits or journal record, an empty permit) and limits on three scopes;
both also with 100 keys in rotation, unique request ids and trace headers.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import uvloop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from measure import open_inference, rows_of  # noqa: E402  # beside this file, not installed

from modelyard.core.access import ALL_ACTIONS, Grant  # noqa: E402  # after the path
from modelyard.gate.permit import Permit  # noqa: E402  # after the path
from modelyard.protocols.open_inference_rest.routes import PROTOCOL as OPEN_INFERENCE  # noqa: E402  # after the path
from modelyard.sdk.client import Client  # noqa: E402  # after the path
from modelyard.server.channel import Handover  # noqa: E402  # after the path
from modelyard.server.fronts.http1 import Http1Front  # noqa: E402  # after the path
from modelyard.server.handler import Handler  # noqa: E402  # after the path
from modelyard.server.settings_reading import assemble  # noqa: E402  # after the path
from modelyard.server.wiring.worker import build  # noqa: E402  # after the path
from modelyard.testing.platform import running_platform  # noqa: E402  # after the path

SLICES = 200
KEYS = 100
SCOPES = ("--platform",), (), ("--deployment", "bound")
"""Platform, workspace, deployment: they bind every key."""


NOBODY = (b"", 0, 0, 0)


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


class Unrecorded:
    """Records nothing."""

    def append(self, *call: object) -> bool:
        return True


class Bypass:
    """Lets everybody in with one empty permit a call, which binds nothing and is not recorded."""

    def __init__(self, grant: Grant) -> None:
        self._grant, self._journal = grant, Unrecorded()

    def authenticate(self, *call: object) -> Grant:
        return self._grant

    def admit(self, *call: object) -> Permit:
        return Permit(self._journal, NOBODY)


def bypassed(handler: Handler) -> Handler:
    other = handler.carrying([OPEN_INFERENCE])
    other._gate = Bypass(Grant(workspace_id=1, key_id=1, public_id="", actions=ALL_ACTIONS, deployments=frozenset()))
    return other


class Bench:
    """A worker in this process, and requests for it."""

    def __init__(self, home: Path, settings: list[str], connections: int) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        read = assemble(dict(pair.split("=", 1) for pair in settings), {"home": str(home), "workers": 1}).settings
        self.worker = build(read, Handover(settings={}, parent=0, name="bench", descriptor=listener.detach(), boot=secrets.token_hex(16)))
        self.connections = connections

    def wires(self, *, gate: bool) -> list[tuple[asyncio.Protocol, Wire]]:
        front = self.worker.front if gate else Http1Front(bypassed(self.worker.front.handler))
        made = []
        for _ in range(self.connections):
            connection, wire = front.new_connection(), Wire()
            connection.connection_made(wire)
            made.append((connection, wire))
        return made

    async def slice(self, wires: list[tuple[asyncio.Protocol, Wire]], requests: Iterator[bytes], calls: int) -> float:
        """Microseconds of processor time of a call."""
        turns = max(1, calls // self.connections)
        began = time.process_time()
        for _ in range(turns):
            for connection, _wire in wires:
                connection.data_received(next(requests))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            while any(connection.busy for connection, _wire in wires):  # noqa: ASYNC110 - a run that seemed long is in a thread
                await asyncio.sleep(0)
        taken = (time.process_time() - began) / (turns * self.connections) * 1e6
        if b" 200 OK" not in wires[0][1].last:
            raise SystemExit(f"not answered: {wires[0][1].last!r}")
        return taken


def request(name: str, key: str, more: dict[str, str] | None = None) -> bytes:
    headers, body = open_inference("mlp", rows_of("mlp", 1), binary=False)
    headers |= {"host": "127.0.0.1:8000", "authorization": f"Bearer {key}", "content-length": str(len(body))} | (more or {})
    fields = "".join(f"{field}: {value}\r\n" for field, value in headers.items())
    return f"POST /v2/models/{name}/infer HTTP/1.1\r\n{fields}\r\n".encode() + body


def unique(name: str, keys: list[str], count: int) -> Iterator[bytes]:
    """Requests that differ in key, request id and trace, made ahead so that making them is not measured."""
    made = [
        request(name, keys[n % len(keys)], {"x-request-id": f"bench-{n}", "traceparent": f"00-{n + 1:032x}-{n + 1:016x}-01"})
        for n in range(count)
    ]
    return cycle(made)


async def measure(home: Path, keys: list[str], options: argparse.Namespace) -> dict[str, list[float]]:
    bench = Bench(home, options.set, options.connections)
    following = asyncio.create_task(bench.worker.reconciler.run())
    await bench.worker.reconciler.settled.wait()
    gc.collect()
    gc.freeze()  # as the worker's entry point does
    gated, open_ = bench.wires(gate=True), bench.wires(gate=False)
    free, bound = cycle([request("mlp", keys[0])]), cycle([request("bound", keys[0])])
    cases = {"no limits": (gated, free)}
    if options.gate:
        cases = {"gate bypassed": (open_, bound), "three limits": (gated, bound)}
        many = unique("bound", keys, 3200)
        cases |= {"gate bypassed, unique requests": (open_, many), "three limits, unique requests": (gated, many)}
    costs: dict[str, list[float]] = {name: [] for name in cases}
    profiler = cProfile.Profile() if options.profile else None
    for number in range(SLICES + 1):
        if profiler is not None and number:
            profiler.enable()
        for name, (wires, requests) in cases.items():
            # Once unmeasured: what limits had in hand went back while the other cases ran, as it does where nobody calls.
            await bench.slice(wires, requests, options.calls // SLICES)
            costs[name].append(await bench.slice(wires, requests, options.calls // SLICES))
        if profiler is not None:
            profiler.disable()
    if profiler is not None:
        profiler.dump_stats(options.profile)
    following.cancel()
    return {name: taken[1:] for name, taken in costs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=32, help="calls in each turn of the loop, which share a batch")
    parser.add_argument("--profile", default="")
    parser.add_argument("--set", action="append", default=[], help="a setting, like MODELYARD_ACCESS_LOG=no")
    parser.add_argument("--gate", action="store_true", help="what the gate costs, against one that is bypassed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder:
        keys = prepared(Path(folder), gate=options.gate)
        costs = uvloop.run(measure(Path(folder) / "home", keys, options))
        report(costs)


def prepared(folder: Path, *, gate: bool) -> list[str]:
    """Publishes the model to the home ``folder/home``, with ``gate`` also under limits; keys that may call it."""
    subprocess.run([sys.executable, str(HERE.parent / "models.py"), str(folder)], check=True, stdout=subprocess.DEVNULL)
    with running_platform(folder / "home", workers=1) as platform, Client(platform.url, platform.admin_key) as client:
        platform.json("push", f"{folder}/mlp.onnx", "--name", "mlp")
        for name in ("mlp", "bound") if gate else ("mlp",):
            platform.json("deploy", "mlp@1", "--name", name)
        for scope in SCOPES if gate else ():
            platform.run("limits", "set", *scope, "1000000000/min")
        return [client.keys.create().key for _ in range(KEYS if gate else 1)]


def report(costs: dict[str, list[float]]) -> None:
    for name, taken in costs.items():
        print(f"processor time of a call, {name}: least {min(taken):.1f} us, median {statistics.median(taken):.1f} us")
    for without, case in (("gate bypassed", "three limits"), ("gate bypassed, unique requests", "three limits, unique requests")):
        if case in costs:
            least = min(costs[case]) - min(costs[without])
            middle = statistics.median(a - b for a, b in zip(costs[case], costs[without], strict=True))
            print(f"{case} over {without}: {least:.1f} us between the least, {middle:.1f} us in the median of neighbours")


if __name__ == "__main__":
    main()

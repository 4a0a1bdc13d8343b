"""What kept answers save, and how often equal calls that come at once are computed.

usage: python benchmarks/serve/kept.py [--rounds 3] [--seconds 3] [--models mlp,cifar,encoder] [--burst 64]

Each model is deployed twice, plain and with ``cache``; wrk sends the same call over 32 connections to both in turns. Then bursts: so many
connections send one call at the same moment, a new one each time, to the plain deployment, to one that keeps answers but joins none
(``coalesce: false``), and to one that joins; how many were computed is what the usage records say. Needs wrk.
Writes benchmarks/out/kept.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
from measure import Load, open_inference, rows_of, wrk  # noqa: E402  # beside this file, not installed
from platform_under_test import platform  # noqa: E402  # likewise

from modelyard import Client  # noqa: E402  # after the path

POLICIES = {"plain": {}, "kept": {"cache": {"seconds": 600, "coalesce": False}}, "joined": {"cache": {"seconds": 600}}}
CONNECTIONS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--models", default="mlp,cifar,encoder")
    parser.add_argument("--burst", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, platform() as ours, Client(ours.url, ours.admin_key) as client:
        subprocess.run([sys.executable, str(HERE.parent / "models.py"), folder], check=True, stdout=subprocess.DEVNULL)
        models = options.models.split(",")
        for model in models:
            client.push(Path(folder) / f"{model}.onnx", model)
            for name, policy in POLICIES.items():
                client.deployments.put(f"{model}-{name}", [f"{model}@1"], policy=policy)
                client.deployments.wait(f"{model}-{name}")
        table = [steady(ours, model, options) for model in models]
        bursts = [burst(ours, client, model, options) for model in models]
    out = HERE.parent / "out"
    out.mkdir(exist_ok=True)
    (out / "kept.json").write_text(json.dumps({"steady": table, "bursts": bursts}, indent=1))


def steady(ours, model: str, options: argparse.Namespace) -> dict:
    """The same call again and again."""
    headers, body = open_inference(model, rows_of(model, 1), binary=False)
    headers["authorization"] = f"Bearer {ours.admin_key}"
    loads = [
        Load(f"{ours.inference}/v2/models/{model}-{name}/infer", headers, body, CONNECTIONS, server=ours.process.pid)
        for name in ("plain", "joined")
    ]
    for load in loads:
        wrk(load, 1)
    rounds = [[wrk(load, options.seconds) for load in loads] for _ in range(options.rounds)]
    row = {"model": model}
    for side, name in enumerate(("plain", "kept")):
        row |= {f"{name}_{what}": statistics.median(pair[side][what] for pair in rounds) for what in ("rps", "cpu_us", "p50_ms")}
    row["ratio"] = statistics.median(kept["rps"] / plain["rps"] for plain, kept in rounds)
    row["cpu_ratio"] = statistics.median(plain["cpu_us"] / kept["cpu_us"] for plain, kept in rounds)
    print(" ".join(f"{name}={value if isinstance(value, str) else round(value, 2)}" for name, value in row.items()), flush=True)
    return row


def burst(ours, client: Client, model: str, options: argparse.Namespace) -> dict:
    """Equal calls that come at once: how many were computed, and how long the last one took."""
    host, _, port = ours.inference.removeprefix("http://").partition(":")
    row: dict = {"model": model, "calls": options.burst}
    for name in POLICIES:
        computed, took = [], []
        for number in range(options.rounds):
            _, body = open_inference(model, rows_of(model, number + 2)[-1:], binary=False)  # another one each time
            head = f"POST /v2/models/{model}-{name}/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ours.admin_key}\r\n"
            before = counted(client, f"{model}-{name}")
            request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
            took.append(asyncio.run(all_at_once(host, int(port), request, options.burst)))
            until = time.monotonic() + 20
            while (after := counted(client, f"{model}-{name}"))[0] < before[0] + options.burst and time.monotonic() < until:
                time.sleep(0.2)  # records are folded once a second
            computed.append(after[0] - before[0] - (after[1] - before[1]))
        row |= {f"{name}_computed": statistics.median(computed), f"{name}_last_ms": statistics.median(took) * 1000}
    print(" ".join(f"{name}={value if isinstance(value, str) else round(value, 1)}" for name, value in row.items()), flush=True)
    return row


def counted(client: Client, deployment: str) -> tuple[int, int]:
    """Calls, and those of them that were answered without computing."""
    rows = [row for row in client.platform.usage(by=["deployment"]) if row.deployment == deployment]
    return (rows[0].calls, rows[0].cached_calls) if rows else (0, 0)


async def all_at_once(host: str, port: int, request: bytes, calls: int) -> float:
    """Sends one call over each of so many open connections; seconds until the last answer."""
    made = [await asyncio.open_connection(host, port, limit=1 << 22) for _ in range(calls)]
    await asyncio.sleep(0.2)
    began = time.perf_counter()
    for _, writer in made:
        writer.write(request)

    async def answer(reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(head.decode())
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))

    await asyncio.gather(*[answer(reader) for reader, _ in made])
    took = time.perf_counter() - began
    for _, writer in made:
        writer.close()
    return took


if __name__ == "__main__":
    main()

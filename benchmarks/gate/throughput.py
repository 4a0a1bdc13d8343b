"""What the gate takes of the throughput of `mlp`: one worker with limits on three scopes against the same with the gate bypassed.

usage: python benchmarks/gate/throughput.py [--rounds 40] [--seconds 1]

Two processes, each with one worker's front, handler, journal and model on a home of its own, are called in turns by wrk over 32
connections: with the same headers each time, and with 100 keys in rotation, request ids and trace headers of each call's own. Bypassed:
no key, limits or record, as in ``serve/cpu_per_call.py --gate``. Requests per second, and processor time of a call over all of the process.
Rounds are short and many, and either side goes first in turn: on a machine that has neighbours only pairs close in time compare.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "serve"), str(HERE.parent)]
from cpu_per_call import KEYS, Bench, bypassed, prepared  # noqa: E402  # beside this folder, not installed
from measure import Load, open_inference, rows_of, wrk  # noqa: E402  # beside this folder

from modelyard.server.fronts.http1 import Http1Front  # noqa: E402  # after the path


async def serve(home: Path, side: str) -> None:
    bench = Bench(home, [], 0)
    following = asyncio.create_task(bench.worker.reconciler.run())
    await bench.worker.reconciler.settled.wait()
    front = bench.worker.front if side == "gate" else Http1Front(bypassed(bench.worker.front.handler))
    listener = socket.create_server(("127.0.0.1", 0))
    await front.serve(listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started it is done
    following.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(Path(options.serve[0]), options.serve[1]))
        return
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder, ExitStack() as stack:
        places = {}
        for side in ("gate", "open"):
            home = Path(folder) / side
            home.mkdir()
            keys = prepared(home, gate=True)
            command = [sys.executable, __file__, "--serve", str(home / "home"), side]
            process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert process.stdout is not None
            (home / "keys").write_text("\n".join(keys))
            places[side] = (int(process.stdout.readline()), process.pid, keys[0], home / "keys")
        for case in ("same", "unique"):
            rounds = []
            for number in range(options.rounds + 1):
                order = ("gate", "open") if number % 2 else ("open", "gate")
                rounds.append({side: call(case, *places[side], options.seconds) for side in order})
            report(case, rounds[1:])


def call(case: str, port: int, pid: int, key: str, keys: Path, seconds: float) -> dict:
    headers, body = open_inference("mlp", rows_of("mlp", 1), binary=False)
    headers["authorization"] = f"Bearer {key}"
    unique = case == "unique"
    return wrk(Load(f"http://127.0.0.1:{port}/v2/models/bound/infer", headers, body, 32, keys if unique else None, unique, pid), seconds)


def report(case: str, rounds: list[dict]) -> None:
    def middle(side: str, what: str) -> float:
        return statistics.median(each[side][what] for each in rounds)

    taken = [(1 - each["gate"]["rps"] / each["open"]["rps"]) * 100 for each in rounds]
    more = [each["gate"]["cpu_us"] - each["open"]["cpu_us"] for each in rounds]
    print(
        f"{case:7} bypassed {middle('open', 'rps'):,.0f}/s, {middle('open', 'cpu_us'):.1f} us; limits on three scopes"
        f"{f', {KEYS} keys' if case == 'unique' else ''} {middle('gate', 'rps'):,.0f}/s, {middle('gate', 'cpu_us'):.1f} us:"
        f" {spread(taken)} % of the throughput, {spread(more)} us a call (medians of {len(rounds)} pairs, and their quartiles)",
        flush=True,
    )


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()

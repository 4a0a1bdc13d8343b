"""How workers should listen: throughput and spread of connections for each way, at 1, 2, 4 and 32 connections.

    python benchmarks/listening/measure.py            # needs wrk (Debian package)

Each worker is the real HTTP/1.1 front with a handler that answers a constant; each measurement has fresh workers. Spread is the
busiest worker's connections (or requests) over the mean: 1.00 is even, 2.00 is one of two workers doing all. Ways:

  shared            one inherited socket, accepted by the event loop's own server
  shared, balanced  one inherited socket, accepted by modelyard.server.listen.Acceptor
  own socket each   one SO_REUSEPORT socket for each worker, held by the parent and inherited
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OUT = Path(__file__).parents[1] / "out"
WAYS = ("shared", "shared, balanced", "own socket each")


def worker(descriptor: int, way: str, slot: int, board: str, workers: int, compute_us: int) -> None:
    """Serves until SIGTERM, then prints how many requests it answered."""
    import uvloop

    from modelyard.server.balance import LoadBoard
    from modelyard.server.fronts.http1 import Http1Front
    from modelyard.server.fronts.limits import FrontConfig
    from modelyard.server.listen import Acceptor, inherit_listener

    headers = ((b"content-type", b"application/json"),)
    answered = 0
    open_connections = [0]

    def handler(exchange):
        nonlocal answered
        answered += 1
        if compute_us:
            until = time.perf_counter_ns() + compute_us * 1000
            while time.perf_counter_ns() < until:
                pass
        exchange.respond(200, headers, b'{"predictions":[[0.3090250,0.3549270,0.3360479]]}')

    def sample(loop, front):
        open_connections.append(front.connections)
        loop.call_later(0.1, sample, loop, front)

    async def main():
        loop = asyncio.get_running_loop()
        front = Http1Front(handler, FrontConfig(drain_grace_s=0), loop)
        listener = inherit_listener(descriptor)
        if way == "shared, balanced":
            acceptor = Acceptor(front, listener, LoadBoard(Path(board), workers), slot)
            front.accept_from(acceptor)
            acceptor.start()
        else:
            await front.serve(listener)
        loop.call_later(0.1, sample, loop, front)
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        print("ready", flush=True)
        await stop.wait()
        await front.drain(1)

    uvloop.run(main())
    print(answered, max(statistics.multimode(filter(None, open_connections)), default=0), flush=True)


def listeners(way: str, workers: int) -> list[socket.socket]:
    """One for each worker, or one for all; all on one port."""
    port, made = 0, []
    for _ in range(workers if way == "own socket each" else 1):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if way == "own socket each":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
        port = listener.getsockname()[1]
        made.append(listener)
    return made


def measure(way: str, workers: int, connections: int, seconds: int, compute_us: int, load: list[str]) -> dict[str, float]:
    made = listeners(way, workers)
    with tempfile.NamedTemporaryFile() as board:
        processes = []
        for slot in range(workers):
            descriptor = made[slot % len(made)].fileno()
            command = [sys.executable, __file__, "--worker", str(descriptor), way, str(slot), board.name, str(workers), str(compute_us)]
            processes.append(subprocess.Popen(command, pass_fds=(descriptor,), stdout=subprocess.PIPE, text=True))
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        url = f"http://127.0.0.1:{made[0].getsockname()[1]}/v2/models/m/infer"
        text = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", *load, url], capture_output=True, text=True, check=True
        ).stdout
        for process in processes:
            process.terminate()
        counts = [[int(word) for word in process.communicate()[0].split()] for process in processes]
    answered, held = zip(*counts, strict=True)
    for listener in made:
        listener.close()
    p99, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return {
        "requests_per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        "p99_ms": float(p99) * {"us": 0.001, "ms": 1, "s": 1000}[unit],
        "connection_spread": max(held) / (sum(held) / workers) if sum(held) else 0.0,
        "request_spread": max(answered) / (sum(answered) / workers),
        "errors": int((re.search(r"Non-2xx or 3xx responses: (\d+)", text) or [0, 0])[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 2, 4, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--compute-us", type=int, default=0, help="processor time that the handler takes for each call")
    parser.add_argument("--close", action="store_true", help="a new connection for each request")
    options = parser.parse_args()
    load = ["-H", "Connection: close"] if options.close else []
    results: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(options.rounds):  # Rounds outside: what disturbs the machine disturbs all ways alike.
        for connections in options.connections:
            for way in WAYS:
                found = measure(way, options.workers, connections, options.seconds, options.compute_us, load)
                results.setdefault((way, connections), []).append(found)
    rows = []
    title = f"{options.workers} workers, {options.compute_us} µs of work a call"
    print(f"| {title} | connections | requests/s | p99 ms | connections, busiest / mean: median (worst) | requests, busiest / mean |")
    print("|---|---|---|---|---|---|")
    for (way, connections), rounds in sorted(results.items(), key=lambda item: (item[0][1], WAYS.index(item[0][0]))):
        row = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
        row |= {
            "way": way,
            "connections": connections,
            "worst_spread": max(found["connection_spread"] for found in rounds),
            "rounds": rounds,
        }
        rows.append(row)
        figures = f"{row['requests_per_second']:,.0f} | {row['p99_ms']:.2f} | {row['connection_spread']:.2f} ({row['worst_spread']:.2f})"
        print(f"| {way} | {connections} | {figures} | {row['request_spread']:.2f} |")
    OUT.mkdir(exist_ok=True)
    name = f"listening-{options.compute_us}us{'-close' if options.close else ''}.json"
    (OUT / name).write_text(json.dumps({"options": vars(options), "cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5], int(sys.argv[6]), int(sys.argv[7]))
    else:
        main()

"""What TLS costs: kept connections against plain ones, and what new handshakes do to the calls of others.

usage: python benchmarks/tls/measure.py [--rounds 3] [--seconds 4] [--key ec|rsa]

Two platforms of two workers, alike but for TLS, take turns under the same load (mlp, one row, 32 kept connections). Then 16 kept
connections that each pause 5 ms between calls measure p99 on the TLS platform: alone; while a process of its own makes 200 plain
connections a second to the other platform (which costs the shared cores alike, and this platform nothing); and while it makes 200
handshakes a second here.
Needs wrk. Writes benchmarks/out/tls.json.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "serve"), str(HERE.parents[1] / "tests")]
from measure import Load, open_inference, rows_of, wrk  # noqa: E402  # beside this folder, not installed
from platform_under_test import platform  # noqa: E402  # likewise

from certificates import Authority  # noqa: E402  # of the tests

RATE = 200


def storm(host: str, port: int, seconds: float, ca: str) -> None:
    """Opens RATE connections a second, with a full handshake each where ``ca`` is given, and prints how many succeeded."""
    context = ssl.create_default_context(cafile=ca) if ca else None
    began, done = time.monotonic(), 0
    while (now := time.monotonic()) - began < seconds:
        if done / RATE > now - began:
            time.sleep(0.001)
            continue
        with socket.create_connection((host, port), 10) as plain:
            if context is not None:
                with context.wrap_socket(plain, server_hostname="localhost"):
                    pass
        done += 1
    print(json.dumps({"done": done, "rate": done / (time.monotonic() - began)}))


def under_storm(load: Load, seconds: float, address: tuple[str, int], ca: str) -> tuple[dict, dict]:
    command = [sys.executable, __file__, "--storm", address[0], str(address[1]), str(seconds + 1), ca]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    found = wrk(load, seconds)
    out, _ = process.communicate(timeout=60)
    return found, json.loads(out)


def deployed(ours, model: Path) -> Load:
    ours.json("push", str(model), "--name", "mlp")
    ours.json("deploy", "mlp@1")
    headers, body = open_inference("mlp", rows_of("mlp", 1), binary=False)
    headers["authorization"] = f"Bearer {ours.json('keys', 'create')['key']}"
    return Load(f"{ours.inference}/v2/models/mlp/infer", headers, body, 32)


def address_of(url: str) -> tuple[str, int]:
    host, _, port = url.partition("://")[2].partition("/")[0].partition(":")
    return host, int(port)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--key", choices=["ec", "rsa"], default="ec")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder) / "ca")
        chain = authority.issue("server", rsa_bits=2048 if options.key == "rsa" else 0)
        subprocess.run([sys.executable, str(HERE.parent / "models.py"), folder], check=True, stdout=subprocess.DEVNULL)
        os.environ["MODELYARD_CA"] = ""
        with platform() as plain, platform(tls_certificate=str(chain), tls_listeners="inference") as secure:
            secure.environment["MODELYARD_CA"] = str(authority.file)
            loads = [deployed(ours, Path(folder) / "mlp.onnx") for ours in (plain, secure)]
            report = measure(loads, [plain.process.pid, secure.process.pid], str(authority.file), options)
    out = HERE.parent / "out"
    out.mkdir(exist_ok=True)
    (out / f"tls-{options.key}.json").write_text(json.dumps(report, indent=1))


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all below it."""
    process = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in [process, *process.children(recursive=True)])


def costed(load: Load, pid: int, seconds: float) -> dict:
    """As ``wrk``, with the microseconds of the server's CPU that each call took."""
    before = cpu_seconds(pid)
    found = wrk(load, seconds)
    return found | {"cpu_us": (cpu_seconds(pid) - before) / (found["rps"] * seconds) * 1e6}


def measure(loads: list[Load], pids: list[int], ca: str, options: argparse.Namespace) -> dict:
    for load in loads:
        wrk(load, 2)
    pairs = list(zip(loads, pids, strict=True))
    rounds = [[costed(load, pid, options.seconds) for load, pid in pairs] for _ in range(options.rounds)]
    spent = [statistics.median(pair[side]["cpu_us"] for pair in rounds) for side in (0, 1)]
    print(f"server CPU a call: plain {spent[0]:.1f} us, TLS {spent[1]:.1f} us, ratio {spent[0] / spent[1]:.2f}")
    ratio = statistics.median(secure["rps"] / plain["rps"] for plain, secure in rounds)
    rates = [statistics.median(pair[side]["rps"] for pair in rounds) for side in (0, 1)]
    print(f"kept connections: plain {rates[0]:,.0f}/s, TLS {rates[1]:,.0f}/s, ratio {ratio:.2f}")
    os.environ["DELAY_MS"] = "5"
    paced = replace(loads[1], connections=16)
    wrk(paced, 1)
    turns = []
    for _ in range(options.rounds):
        alone = wrk(paced, options.seconds)
        control, _ = under_storm(paced, options.seconds, address_of(loads[0].url), "")
        stormy, made = under_storm(paced, options.seconds, address_of(loads[1].url), ca)
        turns.append({"alone": alone, "control": control, "storm": stormy, "handshakes": made["rate"]})
    middle = {name: statistics.median(turn[name]["p99_ms"] for turn in turns) for name in ("alone", "control", "storm")}
    times = statistics.median(turn["storm"]["p99_ms"] / turn["alone"]["p99_ms"] for turn in turns)
    made = statistics.median(turn["handshakes"] for turn in turns)
    print(f"p99 of paced calls: alone {middle['alone']:.2f} ms, plain connections elsewhere {middle['control']:.2f} ms,")
    print(f"  {made:.0f} handshakes/s ({options.key}) {middle['storm']:.2f} ms; per round {times:.2f} x alone")
    return {"rounds": rounds, "turns": turns, "ratio": ratio, "p99_times": times}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--storm"]:
        storm(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
    else:
        main()

"""Start-up time, import time, the command line's reaction time and idle memory.

usage: python benchmarks/startup/measure.py [--rounds 5]      (writes benchmarks/out/startup.json)
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from platform_under_test import platform, pss_bytes  # noqa: E402  # beside this folder, not installed


def seconds(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    bare = statistics.median(seconds(sys.executable, "-c", "pass") for _ in range(rounds))
    imported = statistics.median(seconds(sys.executable, "-c", "import modelyard") for _ in range(rounds))
    helped = statistics.median(seconds(sys.executable, "-m", "modelyard.cli.main", "--help") for _ in range(rounds))
    starts, memory = [], []
    for _ in range(rounds):
        with platform() as ours:
            starts.append(ours.ready_seconds)
            time.sleep(3)
            memory.append(pss_bytes(ours.process.pid) / 1e6)
    figures = {
        "import modelyard, over bare python (s)": round(imported - bare, 3),
        "modelyard --help (s)": round(helped, 3),
        "up to first 200 of /readyz on a new home (s)": round(statistics.median(starts), 2),
        "PSS of supervisor, controller and two idle workers (MB)": round(statistics.median(memory)),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    out = HERE.parent / "out"
    out.mkdir(exist_ok=True)
    (out / "startup.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

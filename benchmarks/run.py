"""Runs every benchmark in turn.

usage: python benchmarks/run.py [NAME ...]

names: startup serve train epoch workers listening ledger gate tls memory overload formats push optimize embeddings
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = {
    "startup": "startup/measure.py",
    "serve": "serve/measure.py",
    "train": "train/overhead.py",
    "epoch": "train/networks.py epoch",
    "workers": "train/networks.py workers",
    "listening": "listening/measure.py",
    "ledger": "ledger/query.py",
    "gate": "gate/limits.py",
    "tls": "tls/measure.py",
    "memory": "rollout/memory.py",
    "overload": "rollout/overload.py",
    "formats": "formats/measure.py",
    "push": "push.py",
    "optimize": "optimize/measure.py",
    "embeddings": "llm/embeddings.py",
}


def main() -> int:
    names = sys.argv[1:] or list(SCRIPTS)
    unknown = [name for name in names if name not in SCRIPTS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(SCRIPTS)}")
        return 2
    status = 0
    for name in names:
        print(f"== {name}", flush=True)
        script, *more = SCRIPTS[name].split()
        status |= subprocess.run([sys.executable, str(HERE / script), *more]).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())

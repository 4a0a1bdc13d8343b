"""How long 100,000 keys take on their way to a worker: the snapshot built, and built again when one key is revoked; loaded; its size.

usage: python benchmarks/gate/snapshots.py [--keys 100000] [--rounds 9] [--revocations 60]

Then the same on a running platform: how soon a revoked key is refused everywhere, and the p99 of others' calls while that goes on
(``swapping.py``; ``--revocations 0`` leaves it out). Times are milliseconds of wall time and of processor time, medians over rounds.
``stall`` is how long the worker's loop stands still when it takes a snapshot over: loading it, and the first look-up of a key in it.
Writes benchmarks/out/snapshots.json.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from swapping import measure

from modelyard.core.access import Key
from modelyard.store.snapshot import SnapshotReader, SnapshotState, SnapshotWriter


def timed(step: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of wall and of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    step()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - processor) * 1000


def state(keys: list[Key]) -> SnapshotState:
    """A snapshot of keys alone."""
    return SnapshotState(workspaces={1: "default"}, deployments=(), versions=(), keys=tuple(keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--revocations", type=int, default=60)
    options = parser.parse_args()
    digests = [hashlib.sha256(number.to_bytes(8, "big")).hexdigest() for number in range(options.keys)]
    keys = [
        Key(id=number + 1, workspace_id=1, public_id=f"{number:08x}", digest=digest, deployments=("iris",))
        for number, digest in enumerate(digests)
    ]
    table: dict[str, object] = {"keys": options.keys}
    with tempfile.TemporaryDirectory() as folder:
        writer, reader = SnapshotWriter(Path(folder)), SnapshotReader(Path(folder))
        first = timed(lambda: writer.publish(state(keys)))
        again, stall = [], []
        for _ in range(options.rounds):
            keys.pop(len(keys) // 2)
            gc.collect()
            again.append(timed(lambda: writer.publish(state(keys))))
            digest = bytes.fromhex(keys[7].digest)
            stall.append(timed(lambda digest=digest: reader.load().grant(digest)))
        table["first_ms"] = [round(value, 1) for value in first]
        for name, found in (("one_revoked_ms", again), ("stall_ms", stall)):
            table[name] = [round(statistics.median(times), 2) for times in zip(*found, strict=True)]
        table["megabytes"] = round((Path(folder) / f"{writer.number}.snap").stat().st_size / 1e6, 1)
        writer.close()
    if options.revocations:
        table |= measure(options.keys, options.revocations)
    for name, value in table.items():
        print(f"{name:16} {value}")
    out = Path(__file__).resolve().parent.parent / "out"
    out.mkdir(exist_ok=True)
    (out / "snapshots.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()

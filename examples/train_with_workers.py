"""Several processes learn one network together, on this machine or on a Ray cluster, and end where one process ends: against a running
platform.

modelyard up &
python examples/train_with_workers.py photos 2
MODELYARD_RAY_ADDRESS=10.0.0.5:6379 modelyard up &
python examples/train_with_workers.py photos 8 ray
"""

from __future__ import annotations

import sys
from pathlib import Path

from modelyard.sdk.client import Client


def main(data: str, workers: str, engine: str = "local", batch: str = "16", epochs: str = "3") -> int:
    """The whole way; the exit status."""
    count, rows = int(workers), int(batch)
    network = {"kind": "lenet", "width": 8, "dropout": 0}  # what is dropped is drawn anew in each worker
    with Client() as client:
        for title, learning in (
            ("one process", {"batch_size": rows * count}),
            (f"{count} workers, engine {engine}", {"batch_size": rows, "workers": count, "engine": engine}),
        ):
            recipe = {"kind": "images", "network": network, "learning": {"epochs": int(epochs), "patience": None} | learning}
            version = client.train(data, name=Path(data).stem, recipe=recipe)
            last = version.report["training"]["history"][-1]
            print(f"{version.reference}, {title}: validation loss {last['validation_loss']:.5f}, {last['seconds']:.2f} s an epoch")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

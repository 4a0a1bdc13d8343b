"""A table of texts becomes a classifier that is served, beside what counting words would have done: against a running platform.

modelyard up &
python examples/classify_texts.py examples/data/novels.csv novel
python examples/classify_texts.py examples/data/novels.csv novel kind=gru width=24
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from modelyard.sdk.client import Client


def main(data: str, target: str, *network: str) -> int:
    """The whole way; the exit status."""
    chosen = {name: yaml.safe_load(value) for name, _, value in (field.partition("=") for field in network)}
    recipe = {"kind": "text", **({"network": chosen} if chosen else {})}
    with Client() as client:
        version = client.train(data, target, name=Path(data).stem, recipe=recipe)
        interval = version.report["evaluation"]["intervals"]["accuracy"]
        print(f"{version.reference}: {version.report['family_title']}, {version.metrics['accuracy']:.3f} of the held-out texts are right")
        print(f"95 % of resampled sets: {interval['low']:.3f} to {interval['high']:.3f}")
        for row in version.report["evaluation"]["baselines"]:
            print(f"{row['method']}: {row['accuracy']:.3f}")
        client.deploy(version.reference, version.model)
        for answer in client.predict(version.model, [{"text": "She had been a friend of the family for years."}]):
            print(answer["label"], answer["probabilities"])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

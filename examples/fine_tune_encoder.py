"""An encoder of Hugging Face's learns classes of your texts (LoRA) and is served as one graph: against a running platform.

    modelyard up &
    python examples/fine_tune_encoder.py all-MiniLM-L6-v2 examples/data/novels.csv novel

The first argument is a folder that ``save_pretrained`` has written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from modelyard.sdk.client import Client


def main(folder: str, data: str, target: str, epochs: str = "5") -> int:
    """The whole way; the exit status."""
    with Client() as client:
        base = client.push(folder, "encoder")
        print(f"{base.reference}: {base.report['import']['title']}")
        recipe = {"kind": "encoder", "base": base.reference, "longest": 64, "learning": {"epochs": int(epochs)}}
        child = client.train(data, target, name=f"{Path(data).stem}-encoder", recipe=recipe)
        report = child.report
        learned, texts = f"{report['learned_weights']:,} of {report['weights']:,}", report["rows"]["train"]
        print(f"{child.reference}: {learned} weights learned from {texts} texts")
        print(f"{child.metrics['accuracy']:.3f} of the held-out texts are right")
        print(report["evaluation"]["improvement"]["verdict"])
        client.deploy(child.reference, child.model)
        (answer,) = client.predict(child.model, [{"text": "She had been a friend of the family for years."}])
        print(answer["label"], answer["probabilities"])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

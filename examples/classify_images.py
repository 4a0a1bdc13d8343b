"""From a folder with a sub-folder a class to a network of 8 bits that answers calls: against a running platform.

    modelyard up &
    python examples/classify_images.py photos
    python examples/classify_images.py photos 20 2

The numbers are passes over the images, and processes that learn together. The pictures of the training are written beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from modelyard.sdk.client import Client

NETWORK = {"kind": "lenet", "width": 8}
TOLERANCE = {"quality": 0.03, "latency": 9.0, "size": 1.0}
"""A network of a few images is small, so that 8 bits hardly make it faster; larger ones want ``latency`` 0.1."""


def main(folder: str, epochs: str = "12", workers: str = "1") -> int:
    """The whole way; the exit status."""
    learning = {"epochs": int(epochs), "workers": int(workers), "optimizer": {"learning_rate": 0.01}}
    recipe = {"kind": "images", "network": NETWORK, "augmentation": {"rotation": 5}, "learning": learning}
    name = Path(folder).name
    with Client() as client:
        version = client.train(folder, name=name, recipe=recipe)
        print(f"{version.reference}: {version.metrics['accuracy']:.3f} of the held-out images are right, by {workers} process(es)")
        for mistake in version.report["evaluation"]["mistakes"][:3]:
            print(f"  {mistake['name']} is {mistake['true']}, and was taken for {mistake['predicted']}")
        for picture in ("learning_curves.png", "confusion_matrix.png", "hardest_images.png"):
            with Path(f"{name}-{picture}").open("wb") as file:
                client.models.attachment(version.reference, picture, file)
        (child,) = client.optimize(version.reference, ["int8"], tolerance=TOLERANCE)
        report = child.report["optimization"]
        sizes, quality = [report[side]["size_bytes"] for side in ("parent", "child")], report["quality"]["child"]["value"]
        print(f"{child.reference}: {sizes[0]:,} bytes are {sizes[1]:,} with 8 bits, and {quality:.3f} are right")
        if not report["verdict"]["kept"]:
            print("  flagged:", "; ".join(report["verdict"]["reasons"]))
        served = child if report["verdict"]["kept"] else version
        client.models.promote(served.reference, "champion")
        client.deploy(f"{name}@champion", name)
        for image in sorted(Path(folder).glob("*/*"))[:3]:
            told = client.predict(name, {"image": pixels_of(image, version.signature.inputs[0].wire_shape[-1])})
            print(f"{served.reference} says that {image.relative_to(folder)} is {told['label'][0]}")
    return 0


def pixels_of(image: Path, channels: int) -> np.ndarray:
    """One row of bytes, ``[1, height, width, channels]``."""
    pixels = np.asarray(Image.open(image).convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(1, *pixels.shape[:2], channels)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

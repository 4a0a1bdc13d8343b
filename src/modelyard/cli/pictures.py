"""Image files as calls of a deployment: decoded here, the way training decoded them; everything else happens in the served graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidData, Unsupported
from modelyard.core.plugins import load_string
from modelyard.sdk.client import Client

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})


def are_pictures(data: str) -> bool:
    """Whether what shall be sent is an image file, or a folder of them."""
    path = Path(data)
    return path.suffix.lower() in SUFFIXES or path.is_dir()


def predict_pictures(client: Client, deployment: str, data: str, version: str) -> Iterator[dict[str, Any]]:
    """One prediction an image, in the order of their names; each image is a call of its own, since sizes may differ.

    Raises InvalidData for what is no image, Unsupported when the deployment takes none or Pillow is missing.
    """
    inputs = client.inference.describe(deployment)["inputs"]
    if len(inputs) != 1 or inputs[0]["datatype"] != "UINT8" or len(inputs[0]["shape"]) != 4:
        raise Unsupported(f"The deployment {deployment!r} takes no images; its inputs: {', '.join(entry['name'] for entry in inputs)}.")
    try:
        decode = load_string("modelyard.datasets.images.decode:decode")
    except ModuleNotFoundError as error:
        raise Unsupported(f"Reading images needs {error.name}; install it with: pip install 'modelyard[torch]'") from None
    for path in _files(Path(data)):
        try:
            image = decode(path.read_bytes(), inputs[0]["shape"][3])
        except InvalidData as error:
            raise InvalidData(f"{path} cannot be sent: {error.message}.") from None
        except OSError as error:
            raise InvalidData(f"{path} cannot be read: {error.strerror}.") from None
        found = client.inference.arrays(deployment, {inputs[0]["name"]: image[None]}, version=version)
        yield {"image": str(path)} | {name: value[0].tolist() if hasattr(value[0], "tolist") else value[0] for name, value in found.items()}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InvalidData(f"There are no images in {str(path)!r}.")
    return files


def shortened_prediction(found: dict[str, Any]) -> dict[str, Any]:
    """What people look at: the largest probability instead of all of them."""
    shares = found.get("probabilities")
    return {name: value for name, value in found.items() if name != "probabilities"} | ({"probability": max(shares)} if shares else {})

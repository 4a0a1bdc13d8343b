"""Images that lie in arrays already: ``.npz`` files of NumPy, and IDX files, the form of MNIST and its followers."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.images.decode import Header, Pixels

_PAIRS: tuple[tuple[str, str], ...] = (
    ("x", "y"),
    ("images", "labels"),
    ("x_train", "y_train"),
    ("x_test", "y_test"),
    ("train_images", "train_labels"),
)
_PAIRS += (("test_images", "test_labels"), ("val_images", "val_labels"))
"""Names under which images and labels are found; several pairs of a file are taken together."""
_IDX_NAME = re.compile(r"(?P<set>.*?)-?(?P<what>images|labels)[-.]idx(?P<rank>[13])-ubyte(\.gz)?", re.IGNORECASE)
_MOST_BYTES = 8 << 30
_GREY = np.array([0.299, 0.587, 0.114])


class ImageArray:
    """Images ``[N, H, W]`` or ``[N, H, W, C]`` with a label each."""

    def __init__(self, form: str, images: NDArray[np.uint8], labels: Sequence[str]) -> None:
        self.form = form
        self._images = images if images.ndim == 4 else images[..., None]
        self.names: Sequence[str] = [f"image {at}" for at in range(len(images))]
        self.classes: Sequence[str] = list(labels)

    def header(self, at: int) -> Header:
        height, width, channels = self._images[at].shape
        return Header(height, width, grey=channels == 1)

    def pixels(self, at: int, channels: int) -> Pixels:
        image: Pixels = self._images[at]
        if image.shape[2] == channels:
            return image
        if channels == 3:
            return image.repeat(3, axis=2)
        grey: Pixels = np.rint(image @ _GREY).astype(np.uint8)[..., None]
        return grey


def read_npz(path: Path, name: str) -> ImageArray:
    """Raises InvalidData."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = [pair for pair in _PAIRS if pair[0] in file.files]
            if not found:
                raise InvalidData(f"{name} has no array called 'x' or 'images'; it has: {', '.join(sorted(file.files))}.")
            images = [_bytes_of(file[pair[0]], pair[0], name) for pair in found]
            labels = [_labels_of(file, pair[1], name) for pair in found]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidData(f"{name} cannot be read as arrays ({str(error).split(chr(10))[0][:120]}); write it with numpy.savez.") from None
    return _joined("npz", images, labels, name)


def read_idx(archive: zipfile.ZipFile, name: str) -> ImageArray:
    """The pairs ``…images-idx3-ubyte`` and ``…labels-idx1-ubyte`` of an archive, gzipped or not.

    Raises InvalidData.
    """
    sets: dict[str, dict[str, str]] = {}
    for member in sorted(archive.namelist()):
        if match := _IDX_NAME.fullmatch(PurePosixPath(member).name):
            sets.setdefault(match["set"].lower(), {})[match["what"].lower()] = member
    images, labels = [], []
    for title, pair in sorted(sets.items()):
        if len(pair) < 2:
            missing = "labels" if "images" in pair else "images"
            raise InvalidData(f"{name} has IDX files of {title or 'a set'!r} without its {missing}; put both into the folder.")
        images.append(_idx(archive, pair["images"], 3))
        labels.append([str(int(value)) for value in _idx(archive, pair["labels"], 1)])
    return _joined("idx", images, labels, name)


def holds_idx(names: Sequence[str]) -> bool:
    """Whether an archive's files are IDX."""
    return any(_IDX_NAME.fullmatch(PurePosixPath(name).name) for name in names)


def _joined(form: str, images: list[NDArray[np.uint8]], labels: list[list[str]], name: str) -> ImageArray:
    for part, own in zip(images, labels, strict=True):
        if len(part) != len(own):
            raise InvalidData(f"{name} has {len(part):,} images and {len(own):,} labels; give one label an image.")
        if part.shape[1:] != images[0].shape[1:]:
            raise InvalidData(f"{name} has images of the shapes {images[0].shape[1:]} and {part.shape[1:]}; give one shape.")
    together = images[0] if len(images) == 1 else np.concatenate(images)
    return ImageArray(form, together, [label for own in labels for label in own])


def _bytes_of(array: NDArray[Any], key: str, name: str) -> NDArray[np.uint8]:
    """Pixels 0 to 255, whatever they were stored as."""
    if array.ndim not in {3, 4} or (array.ndim == 4 and array.shape[3] not in {1, 3}):
        raise InvalidData(f"The array {key!r} of {name} has the shape {array.shape}; images are [N, H, W] or [N, H, W, 1 or 3].")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "fiub" or not array.size:
        raise InvalidData(f"The array {key!r} of {name} holds {array.dtype}; pixels are numbers from 0 to 255, or from 0 to 1.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255):
        raise InvalidData(f"The array {key!r} of {name} holds {low:g} to {high:g}; pixels are numbers from 0 to 255, or from 0 to 1.")
    scale = 255.0 if array.dtype.kind in "fb" and high <= 1 else 1.0
    return np.rint(array.astype(np.float64) * scale).astype(np.uint8)


def _labels_of(file: Any, key: str, name: str) -> list[str]:
    if key not in file.files:
        raise InvalidData(f"{name} has images but no array {key!r}; add one label an image under this name.")
    labels = file[key]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iubUS" or (labels.dtype.kind == "f" and not np.equal(labels % 1, 0).all()):
        raise InvalidData(
            f"The array {key!r} of {name} is {labels.dtype}{list(labels.shape)}; labels are one whole number or word an image."
        )
    return [value.decode() if isinstance(value, bytes) else str(value) for value in labels.tolist()]


def _idx(archive: zipfile.ZipFile, member: str, rank: int) -> NDArray[np.uint8]:
    try:
        data = archive.read(member)
        if member.lower().endswith(".gz"):
            data = gzip.decompress(data)
        kind, dimensions = struct.unpack_from(">HBB", data)[1:]
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
    except (struct.error, zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise InvalidData(f"{member!r} is a damaged IDX file ({str(error)[:100]}).") from None
    if kind != 8 or dimensions != rank:
        raise InvalidData(f"{member!r} is IDX of type {kind} with {dimensions} dimensions; bytes (8) with {rank} are wanted.")
    size, start = math.prod(shape), 4 + 4 * dimensions
    if size > _MOST_BYTES or len(data) - start != size:
        raise InvalidData(f"{member!r} promises {size:,} bytes and has {len(data) - start:,}; it is damaged.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)

"""Reads an image set: finds its form, decides size and channels, decodes every image, and lists those that cannot be read."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.images.arrays import holds_idx, read_idx, read_npz
from modelyard.datasets.images.collection import Collection
from modelyard.datasets.images.decode import Header, Pixels, UnreadableImage
from modelyard.datasets.images.folder import ImageFolder

Resize = Callable[[Pixels, int, int], Pixels]
"""(image, height, width) → the image in that size."""
Report = Callable[[float, str], None]
_LARGEST = 224
_AT_ONCE = 256
_TOLD = 20


@dataclass(frozen=True)
class Layout:
    """What all images are brought to."""

    height: int
    width: int
    channels: int
    mixed: bool
    """Whether images of other sizes were among them, or another size was asked for."""


@dataclass(frozen=True)
class ImageSet:
    """Images in one array."""

    pixels: NDArray[np.uint8]
    """``[N, H, W, C]``; a mapped file."""
    labels: NDArray[np.intp]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    places: NDArray[np.intp]
    """The position of each image in the collection."""
    layout: Layout
    collection: Collection
    unreadable: dict[str, str]
    """Name of each file that is left out → why."""
    sizes: dict[str, int]
    """``HEIGHTxWIDTH`` → how many images had it."""

    def __len__(self) -> int:
        return len(self.labels)

    def original(self, at: int) -> Pixels:
        """An image as it came, before it was brought to the size of the others."""
        return self.collection.pixels(int(self.places[at]), self.layout.channels)

    def copies(self) -> NDArray[np.intp]:
        """For each image the first one with the same pixels."""
        first: dict[bytes, int] = {}
        return np.array([first.setdefault(hashlib.sha256(image.tobytes()).digest(), at) for at, image in enumerate(self.pixels)], np.intp)


@dataclass(frozen=True)
class ReadOptions:
    """How a set is read."""

    size: tuple[int, int] | None = None
    channels: int = 0
    """0 for 1 where all images are grey and 3 elsewhere."""
    most_unreadable: float = 0.1
    """The largest share of files that may be left out; 0 refuses the first."""
    threads: int = 1


def open_collection(path: Path, name: str) -> Collection:
    """The images in a file, by its content.

    Raises InvalidData when it is none of the forms.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError):
        raise InvalidData(
            f"{name} is no set of images; give a folder with a sub-folder for each class, an .npz file, or IDX files."
        ) from None
    names = [member for member in archive.namelist() if not member.endswith("/")]
    if names and all(member.endswith(".npy") for member in names):
        archive.close()
        return read_npz(path, name)
    return read_idx(archive, name) if holds_idx(names) else ImageFolder(archive, name)


def read_images(path: Path, name: str, options: ReadOptions, *, store: Path, resize: Resize, report: Report) -> ImageSet:
    """The set in a file; its pixels go to the file ``store``, which stays in use.

    Raises InvalidData when too many images cannot be read, or a class has fewer than two.
    """
    collection = open_collection(path, name)
    count = len(collection.names)
    unreadable: dict[int, str] = {}
    with ThreadPoolExecutor(options.threads) as threads:
        headers = _headers(collection, threads, unreadable)
        layout = _layout(headers, options, name)
        pixels = np.lib.format.open_memmap(store, mode="w+", dtype=np.uint8, shape=(count, layout.height, layout.width, layout.channels))
        used = 0
        places: list[int] = []
        for at, image in _images(collection, sorted(headers), layout.channels, threads, unreadable):
            pixels[used] = image if image.shape[:2] == (layout.height, layout.width) else resize(image, layout.height, layout.width)
            places.append(at)
            used += 1
            if used % _AT_ONCE == 0:
                report(used / count, f"{used:,} of {count:,} images read")
    _check_unreadable(collection, unreadable, options, name)
    labels, classes = _classes([collection.classes[at] for at in places], name)
    return ImageSet(
        pixels=pixels[:used],
        labels=labels,
        classes=classes,
        names=tuple(collection.names[at] for at in places),
        places=np.array(places, np.intp),
        layout=layout,
        collection=collection,
        unreadable={collection.names[at]: reason for at, reason in sorted(unreadable.items())},
        sizes=dict(Counter(f"{headers[at].height}x{headers[at].width}" for at in places).most_common(_TOLD)),
    )


def _headers(collection: Collection, threads: ThreadPoolExecutor, unreadable: dict[int, str]) -> dict[int, Header]:
    def look(at: int) -> Header | str:
        try:
            return collection.header(at)
        except UnreadableImage as error:
            return error.message

    found: dict[int, Header] = {}
    for at, header in enumerate(threads.map(look, range(len(collection.names)))):
        if isinstance(header, str):
            unreadable[at] = header
        else:
            found[at] = header
    return found


def _images(
    collection: Collection, wanted: Sequence[int], channels: int, threads: ThreadPoolExecutor, unreadable: dict[int, str]
) -> Iterator[tuple[int, Pixels]]:
    """The readable ones, in order; a few at a time are decoded ahead."""

    def load(at: int) -> Pixels | str:
        try:
            return collection.pixels(at, channels)
        except UnreadableImage as error:
            return error.message

    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        for at, image in zip(part, threads.map(load, part), strict=True):
            if isinstance(image, str):
                unreadable[at] = image
            else:
                yield at, image


def _layout(headers: dict[int, Header], options: ReadOptions, name: str) -> Layout:
    if not headers:
        raise InvalidData(f"{name} holds no readable image; give PNG, JPEG or another form that Pillow reads.")
    sizes = {(header.height, header.width) for header in headers.values()}
    channels = options.channels or (1 if all(header.grey for header in headers.values()) else 3)
    if options.size is not None:
        return Layout(*options.size, channels, mixed=sizes != {options.size})
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        return Layout(height, width, channels, mixed=False)
    height, width = (int(np.median([getattr(header, side) for header in headers.values()])) for side in ("height", "width"))
    shrink = min(1.0, _LARGEST / max(height, width))
    return Layout(max(1, round(height * shrink)), max(1, round(width * shrink)), channels, mixed=True)


def _check_unreadable(collection: Collection, unreadable: dict[int, str], options: ReadOptions, name: str) -> None:
    if len(unreadable) <= options.most_unreadable * len(collection.names):
        return
    told = "; ".join(f"{collection.names[at]}: {reason}" for at, reason in sorted(unreadable.items())[:3])
    raise InvalidData(
        f"{len(unreadable):,} of the {len(collection.names):,} images of {name} cannot be read ({told}); "
        "mend or remove them, or set on_corrupt to skip and raise most_corrupt."
    )


def _classes(found: list[str], name: str) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    numeric = all(label.isdecimal() for label in found)
    classes = sorted(set(found), key=(lambda label: (int(label), label)) if numeric else None)
    counts = Counter(found)
    if len(classes) < 2:
        raise InvalidData(f"All images of {name} are of the class {classes[0]!r}; classification needs at least two.")
    rare = min(classes, key=lambda label: counts[label])
    if counts[rare] < 3:
        raise InvalidData(
            f"The class {rare!r} of {name} has {counts[rare]} readable image(s), so it cannot be learned, chosen by and tested; "
            "add images of it, or remove it."
        )
    place = {label: at for at, label in enumerate(classes)}
    return np.array([place[label] for label in found], np.intp), tuple(classes)

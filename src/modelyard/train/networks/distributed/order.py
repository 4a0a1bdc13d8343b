"""What the processes of a team are told, in a file of the job's own folder."""

from __future__ import annotations

import io
import mmap
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.lesson import Lesson
from modelyard.train.recipes.learning import Learning


@dataclass(frozen=True)
class Order:
    """Everything that a member of a team needs."""

    lesson: Lesson
    learning: Learning
    checkpoints: Checkpoints
    cores: int
    """Of the whole team."""


def write_order(order: Order, place: Path) -> None:
    """Large arrays are named, not copied."""
    packed = io.BytesIO()
    _Writer(packed, protocol=pickle.HIGHEST_PROTOCOL).dump(order)
    place.write_bytes(packed.getbuffer())


def read_order(place: Path) -> Order:
    """What the job's own process wrote a moment ago; nobody else can write there."""
    with place.open("rb") as file:
        order = _Reader(file).load()
    if not isinstance(order, Order):
        raise TypeError("The file holds no order.")
    return order


class _Writer(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        mapped = getattr(value, "_mmap", None)
        if not isinstance(value, np.memmap) or mapped is None or value.filename is None or not value.flags.c_contiguous:
            return None
        return str(value.filename), value.dtype.str, value.shape, _offset(value)


class _Reader(pickle.Unpickler):
    def persistent_load(self, key: Any) -> Any:
        filename, dtype, shape, offset = key
        return np.memmap(filename, dtype=dtype, mode="r", offset=offset, shape=tuple(shape))


def _offset(array: np.memmap[Any, Any]) -> int:
    """Where an array, which may be a slice, begins in its file."""
    begun = np.frombuffer(array._mmap, np.uint8).ctypes.data  # type: ignore[attr-defined]  # of NumPy's own class
    return array.ctypes.data - begun + array.offset - array.offset % mmap.ALLOCATIONGRANULARITY

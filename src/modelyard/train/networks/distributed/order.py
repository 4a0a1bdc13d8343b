"""What the processes of a team are told, in a file of the job's own folder."""

from __future__ import annotations

import io
import mmap
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class Parcel(NamedTuple):
    """An order for other machines, with copies of its arrays beside it."""

    head: bytes
    arrays: list[NDArray[np.uint8]]


def pack_order(order: Order) -> Parcel:
    packed, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Packer(packed, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append).dump(order)
    return Parcel(packed.getvalue(), [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers])


def unpack_order(parcel: Parcel) -> Order:
    """What ``pack_order`` of the job made; its arrays are not copied again."""
    return _checked(pickle.loads(parcel.head, buffers=parcel.arrays))  # noqa: S301 - from the job itself, over a cluster that it trusts


def read_order(place: Path) -> Order:
    """What the job's own process wrote a moment ago; nobody else can write there."""
    with place.open("rb") as file:
        return _checked(_Reader(file).load())


def _checked(order: object) -> Order:
    if not isinstance(order, Order):
        raise TypeError("The file holds no order.")
    return order


class _Writer(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        mapped = getattr(value, "_mmap", None)
        if not isinstance(value, np.memmap) or mapped is None or value.filename is None or not value.flags.c_contiguous:
            return None
        return str(value.filename), value.dtype.str, value.shape, _offset(value)


class _Packer(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """Arrays of files become arrays, because the files are on one machine only."""
        return value.view(np.ndarray).__reduce_ex__(pickle.HIGHEST_PROTOCOL) if isinstance(value, np.memmap) else NotImplemented


class _Reader(pickle.Unpickler):
    def persistent_load(self, key: Any) -> Any:
        filename, dtype, shape, offset = key
        return np.memmap(filename, dtype=dtype, mode="r", offset=offset, shape=tuple(shape))


def _offset(array: np.memmap[Any, Any]) -> int:
    """Where an array, which may be a slice, begins in its file."""
    begun = np.frombuffer(array._mmap, np.uint8).ctypes.data  # type: ignore[attr-defined]  # of NumPy's own class
    return array.ctypes.data - begun + array.offset - array.offset % mmap.ALLOCATIONGRANULARITY

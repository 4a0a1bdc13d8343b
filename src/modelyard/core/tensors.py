"""Open Inference datatypes and how NumPy holds them.

BYTES tensors are object arrays of ``str`` or ``bytes``; a runtime makes of them what its library wants.
BF16 has no NumPy dtype: its tensors are float32 arrays inside the process and two bytes an element on the wire.
The null rule: null is NaN in a floating-point tensor and ``""`` in a BYTES tensor, in every protocol; elsewhere it is an error.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidTensor

Array = NDArray[np.generic]
"""Any tensor in memory."""


class Datatype(StrEnum):
    """Element types by their Open Inference Protocol names."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The dtype of this type's arrays in memory."""
        return NUMPY[self]

    @property
    def is_float(self) -> bool:
        return self in FLOATS

    @property
    def wire_size(self) -> int | None:
        """Bytes an element takes in a binary tensor; None for BYTES, whose elements carry their own length."""
        if self is Datatype.BYTES:
            return None
        return 2 if self is Datatype.BF16 else NUMPY[self].itemsize


NUMPY: dict[str, np.dtype[np.generic]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.UINT16: np.dtype(np.uint16),
    Datatype.UINT32: np.dtype(np.uint32),
    Datatype.UINT64: np.dtype(np.uint64),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype(np.int16),
    Datatype.INT32: np.dtype(np.int32),
    Datatype.INT64: np.dtype(np.int64),
    Datatype.FP16: np.dtype(np.float16),
    Datatype.BF16: np.dtype(np.float32),
    Datatype.FP32: np.dtype(np.float32),
    Datatype.FP64: np.dtype(np.float64),
    Datatype.BYTES: np.dtype(object),
}
FLOATS = frozenset({Datatype.FP16, Datatype.BF16, Datatype.FP32, Datatype.FP64})
_NAMES = {dtype: Datatype(name) for name, dtype in NUMPY.items() if name != Datatype.BF16}


def datatype_of(array: Array) -> Datatype:
    """The Open Inference datatype of an array; text arrays count as BYTES.

    Raises InvalidTensor for dtypes the protocol cannot say (complex, dates, structures).
    """
    if array.dtype.kind in "SU":
        return Datatype.BYTES
    try:
        return _NAMES[array.dtype]
    except KeyError:
        raise InvalidTensor(f"An array of dtype {array.dtype} has no Open Inference datatype; convert it first.") from None


def element_count(shape: tuple[int, ...]) -> int:
    """How many elements a shape holds.

    Raises InvalidTensor for negative dimensions.
    """
    if any(size < 0 for size in shape):
        raise InvalidTensor(f"Shape {list(shape)} has a negative dimension; the shape of data must be concrete.")
    return math.prod(shape)


def encode_bytes_tensor(array: Array) -> bytes:
    """The binary form of a BYTES tensor: each element as a little-endian uint32 length and its bytes, in row-major order."""
    parts: list[bytes] = []
    for item in array.ravel():
        raw = item if isinstance(item, bytes) else str(item).encode()
        parts.append(len(raw).to_bytes(4, "little"))
        parts.append(raw)
    return b"".join(parts)


def decode_bytes_tensor(data: bytes | memoryview, count: int) -> NDArray[np.object_]:
    """``count`` elements of a binary BYTES tensor as a flat object array of ``bytes``.

    Raises InvalidTensor when the data ends early or goes on after the last element.
    """
    view = memoryview(data)
    if count * 4 > len(view):
        raise InvalidTensor(f"A BYTES tensor of {count} elements needs at least {count * 4} bytes, {len(view)} came.")
    out = np.empty(count, dtype=object)
    at = 0
    for index in range(count):
        size = int.from_bytes(view[at : at + 4], "little")
        at += 4
        if at + size > len(view) or len(view) - at < 0:
            raise InvalidTensor(f"Element {index} of a BYTES tensor says {size} bytes, but only {max(0, len(view) - at)} are left.")
        out[index] = bytes(view[at : at + size])
        at += size
    if at != len(view):
        raise InvalidTensor(f"A BYTES tensor has {len(view) - at} bytes left after its {count} elements.")
    return out


def encode_tensor(array: Array, datatype: Datatype) -> bytes:
    """The binary (little-endian, row-major) form of a tensor."""
    if datatype is Datatype.BYTES:
        return encode_bytes_tensor(array)
    if datatype is Datatype.BF16:
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        # Round to nearest even, as hardware does; NaN keeps a set mantissa bit.
        rounded = ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype("<u2")
        rounded[np.isnan(array)] = 0x7FC0
        return rounded.tobytes()
    return np.ascontiguousarray(array, NUMPY[datatype].newbyteorder("<")).tobytes()


def decode_tensor(data: bytes | memoryview, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    """A tensor from its binary form; may be a read-only view of ``data``.

    Raises InvalidTensor when the size does not fit the shape.
    """
    count = element_count(shape)
    if datatype is Datatype.BYTES:
        return decode_bytes_tensor(data, count).reshape(shape)
    wire_size = datatype.wire_size or 0
    if len(data) != count * wire_size:
        raise InvalidTensor(f"Shape {list(shape)} of {datatype} takes {count * wire_size} bytes, but {len(data)} came.")
    if datatype is Datatype.BF16:
        bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    return np.frombuffer(data, NUMPY[datatype]).reshape(shape)

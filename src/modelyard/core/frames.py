"""What workers and replica processes say to each other: frames of a MessagePack head and raw tensors.

    magic "MYR1"   4 bytes
    head's length  4 bytes, little endian
    body's length  8 bytes, little endian
    head           MessagePack, then zeros up to a multiple of 16
    body           each tensor's elements as they lie in memory, then zeros up to a multiple of 16

A received tensor is a view of the frame's own memory; a sent one is written from where it lies. Object arrays (text, bytes)
travel as a MessagePack list. The format joins processes of one platform on one machine only, so it may change with any release.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec
import numpy as np

from modelyard.core.errors import Internal, ModelyardError, error_codes
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array
from modelyard.core.unreadable import UNREADABLE

MAGIC = b"MYR1"
PREFIX = struct.Struct("<4sIQ")
ALIGNMENT = 16
MAX_HEAD = 64 << 20
MAX_BODY = 64 << 30
JOINED = 64 << 10
"""Smaller frames are one buffer: a copy costs less than another system call."""
Buffer = bytes | memoryview


class Op(IntEnum):
    """What a frame is about; after the arrow who sends it."""

    HELLO = 1  # → worker, first of all: a Hello
    INFER = 2  # → replica: inputs, and an Ask
    BEGAN = 3  # → worker: the model has begun with a call whose Ask wants to know
    RESULT = 4  # → worker: outputs, and a Ran
    ERROR = 5  # → worker: a Failure
    CANCEL = 6  # → replica: nobody waits for the call any more
    HEALTH = 7  # → replica: asks for a State; with a payload of b"run" the model is tried first
    STATE = 8  # → worker: a State
    GENERATE = 9  # → replica: an encoded GenerateRequest
    CHUNK = 10  # → worker: an encoded TokenChunk
    END = 11  # → worker: the last TokenChunk of a call
    DRAIN = 12  # → worker: send no more calls, those under way are answered


class TensorHead(msgspec.Struct, array_like=True, frozen=True):
    """One tensor of a body."""

    name: str
    dtype: str
    """NumPy's name of it; ``O`` for a MessagePack list."""
    shape: tuple[int, ...]
    size: int
    """Bytes, without what aligns the next."""


class Head(msgspec.Struct, array_like=True, frozen=True):
    """The head of a frame."""

    op: int
    call: int = 0
    """Which call it belongs to, unique in its connection."""
    payload: bytes = b""
    tensors: tuple[TensorHead, ...] = ()


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica is."""

    pid: int
    signature: Signature
    concurrency: int = 1
    """Calls that it computes at once."""
    repeatable: bool = True
    """Whether a call that it had begun may be computed once more elsewhere when it dies."""
    generative: bool = False


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """How a call wants to be computed."""

    outputs: tuple[str, ...] = ()
    """Names of the wanted ones; empty for all."""
    tell: bool = False
    """Whether to say when the model begins with it."""


class Ran(msgspec.Struct, array_like=True, frozen=True):
    """What a call took, and how many calls the replica still has."""

    compute_us: int = 0
    outstanding: int = 0


class State(msgspec.Struct, array_like=True, frozen=True):
    """How a replica is."""

    outstanding: int = 0
    answered: int = 0
    """Calls that the model has answered since it was loaded."""
    failed: str = ""
    """Why the trial that was asked for did not succeed."""


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """An error on its way between processes."""

    code: str
    message: str
    retry_after: float | None = None

    @classmethod
    def of(cls, error: ModelyardError) -> Failure:
        return cls(error.code, error.message, error.retry_after)

    def error(self) -> ModelyardError:
        """The error again, of the same class."""
        kind = error_codes().get(self.code, Internal)
        return kind(self.message, retry_after=self.retry_after)


DRAINING = "draining"
"""Code of the Failure of a call that a replica did not begin because it ends: it may be computed elsewhere."""


class BadFrame(Internal):
    """A peer does not speak this protocol; the connection is of no more use."""


class Frame(NamedTuple):
    """A received frame."""

    head: Head
    body: memoryview


_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_list = msgspec.msgpack.Decoder(list).decode
_ZEROS = bytes(ALIGNMENT)


def encode_frame(op: Op, call: int = 0, payload: bytes = b"", tensors: Mapping[str, Array] | None = None) -> list[Buffer]:
    """A frame as buffers to write one after the other; tensors must not change until they are written."""
    heads: list[TensorHead] = []
    parts: list[Buffer] = [b""]
    body = 0
    for name, array in (tensors or {}).items():
        data = _elements(array)
        heads.append(TensorHead(name, "O" if array.dtype.hasobject else array.dtype.str, array.shape, len(data)))
        parts.append(data)
        body += len(data)
        if rest := -len(data) % ALIGNMENT:
            parts.append(_ZEROS[:rest])
            body += rest
    head = _encode_head(Head(int(op), call, payload, tuple(heads)))
    parts[0] = PREFIX.pack(MAGIC, len(head), body) + head + _ZEROS[: -(PREFIX.size + len(head)) % ALIGNMENT]
    return [b"".join(parts)] if len(parts[0]) + body <= JOINED else parts


def frame_size(prefix: bytes | memoryview) -> int:
    """Bytes of the whole frame that begins with these 16.

    Raises BadFrame.
    """
    magic, head, body = PREFIX.unpack(prefix)
    if magic != MAGIC or head > MAX_HEAD or body > MAX_BODY:
        raise BadFrame("A replica's connection carries something else than frames.")
    return _body_at(head) + int(body)


def decode_frame(data: memoryview) -> Frame:
    """The frame that ``data`` holds; its tensors are views of ``data``.

    Raises BadFrame.
    """
    length = PREFIX.unpack_from(data)[1]
    try:
        head = _decode_head(data[PREFIX.size : PREFIX.size + length])
    except UNREADABLE as error:
        raise BadFrame(f"A replica's frame cannot be read: {error}.") from None
    return Frame(head, data[_body_at(length) :])


def tensors_of(frame: Frame) -> dict[str, Array]:
    """The tensors of a frame by name.

    Raises BadFrame.
    """
    found: dict[str, Array] = {}
    at = 0
    try:
        for head in frame.head.tensors:
            data = frame.body[at : at + head.size]
            found[head.name] = _object_array(data, head.shape) if head.dtype == "O" else _array(data, head)
            at += head.size + -head.size % ALIGNMENT
    except (ValueError, TypeError, *UNREADABLE) as error:
        raise BadFrame(f"A replica's tensor cannot be read: {error}.") from None
    return found


def _body_at(head: int) -> int:
    size = PREFIX.size + head
    return size + -size % ALIGNMENT


def _elements(array: Array) -> Buffer:
    if array.dtype.hasobject:
        return _encode_head(array.ravel().tolist())
    if array.nbytes <= JOINED:
        return array.tobytes()  # it is copied anyway, and this is one step
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _array(data: memoryview, head: TensorHead) -> Array:
    array: Array = np.frombuffer(data, np.dtype(head.dtype)).reshape(head.shape)
    return array


def _object_array(data: memoryview, shape: tuple[int, ...]) -> Array:
    items = _decode_list(data)
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)

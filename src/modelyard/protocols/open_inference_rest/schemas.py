"""Bodies of requests as typed structures, and documents about models.

A request whose tensors are all of one datatype, flat and in JSON, is the usual one. For it there is a decoder for each datatype
that refuses, while parsing, every whole number that the datatype cannot hold; whatever it refuses is read again by the general one.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.serving.router import ServedView

T = TypeVar("T")
Size = Annotated[int, Meta(ge=0)]
Parameters = dict[str, Any]


class OutputWish(msgspec.Struct, gc=False):
    """One wanted output."""

    name: str
    parameters: Parameters | None = None


class FastTensor(msgspec.Struct, Generic[T], gc=False):
    """An input whose data is a flat JSON list."""

    name: str
    shape: tuple[Size, ...]
    datatype: str
    data: T
    parameters: Parameters | None = None


class FastBody(msgspec.Struct, Generic[T], gc=False):
    """An infer request with flat JSON data of one kind."""

    inputs: list[FastTensor[T]]
    id: str = ""
    parameters: Parameters | None = None
    outputs: list[OutputWish] | None = None


class AnyTensor(msgspec.Struct):
    """An input with data of any form, or with its data in the binary part."""

    name: str
    shape: tuple[Size, ...]
    datatype: str
    data: Any = msgspec.UNSET
    parameters: Parameters | None = None


class AnyBody(msgspec.Struct):
    """An infer request of any form."""

    inputs: list[AnyTensor]
    id: str = ""
    parameters: Parameters | None = None
    outputs: list[OutputWish] | None = None


def _int(low: int, high: int) -> Any:
    return list[Annotated[int, Meta(ge=low, le=high)]]


_KINDS: dict[str, Any] = {
    Datatype.BOOL: list[bool],
    Datatype.UINT8: _int(0, 2**8 - 1),
    Datatype.UINT16: _int(0, 2**16 - 1),
    Datatype.UINT32: _int(0, 2**32 - 1),
    Datatype.UINT64: list[Annotated[int, Meta(ge=0)]],
    Datatype.INT8: _int(-(2**7), 2**7 - 1),
    Datatype.INT16: _int(-(2**15), 2**15 - 1),
    Datatype.INT32: _int(-(2**31), 2**31 - 1),
    Datatype.INT64: list[int],
    Datatype.FP16: list[float | None],  # whoever makes an array of them refuses what is too large
    Datatype.FP32: list[float | None],
    Datatype.FP64: list[float | None],
}


def _decoder(kind: Any) -> msgspec.json.Decoder[FastBody[Any]]:
    generic: Any = FastBody
    return msgspec.json.Decoder(generic[kind])


FAST = {datatype: _decoder(kind) for datatype, kind in _KINDS.items()}
"""Decoders of the usual request by datatype. BF16 and BYTES need more work than a decoder does."""

HEADER = msgspec.json.Decoder(AnyBody)

_CONFIG_TYPES = {Datatype.BYTES: "TYPE_STRING"}
MAX_BATCH = 64
"""Told to clients that ask for a batch size; larger requests are welcome."""
PLATFORMS = {"onnx": ("onnxruntime_onnx", "onnxruntime")}
"""Format → platform and backend, by the names that Triton's clients know."""


def tensor(spec: TensorSpec) -> dict[str, Any]:
    """An input or output in model metadata."""
    return {"name": spec.name, "datatype": str(spec.datatype), "shape": spec.wire_shape}


def model_metadata(view: ServedView) -> dict[str, Any]:
    """What ``GET /v2/models/{name}`` answers."""
    return {
        "name": view.name,
        "versions": [str(number) for number in view.versions],
        "platform": PLATFORMS.get(view.format, (view.format, view.format))[0],
        "inputs": [tensor(spec) for spec in view.signature.inputs],
        "outputs": [tensor(spec) for spec in view.signature.outputs],
    }


def model_config(view: ServedView) -> dict[str, Any]:
    """The part of Triton's model configuration that holds here; with batching, dimensions leave out the first."""
    batched = view.signature.batched

    def described(spec: TensorSpec) -> dict[str, Any]:
        kind = _CONFIG_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}")
        return {"name": spec.name, "data_type": kind, "dims": spec.wire_shape[1:] if batched else spec.wire_shape}

    platform, backend = PLATFORMS.get(view.format, (view.format, view.format))
    return {
        "name": view.name,
        "platform": platform,
        "backend": backend,
        "version_policy": {"specific": {"versions": list(view.versions)}},
        "max_batch_size": MAX_BATCH if batched else 0,
        "input": [described(spec) for spec in view.signature.inputs],
        "output": [described(spec) for spec in view.signature.outputs],
        "instance_group": [{"name": view.name, "kind": "KIND_CPU", "count": 1, "gpus": []}],
    }


def model_statistics(view: ServedView) -> dict[str, Any]:
    """Counts and times of one version, in Triton's form; nanoseconds. They are those of the worker that answers."""
    counts = view.statistics

    def duration(count: int, microseconds: int) -> dict[str, int]:
        return {"count": count, "ns": microseconds * 1000}

    done = counts.succeeded
    return {
        "name": view.name,
        "version": str(view.number),
        "last_inference": counts.last_ns // 1_000_000,
        "inference_count": counts.rows,
        "execution_count": round(counts.executions),
        "inference_stats": {
            "success": duration(done, counts.total_us),
            "fail": duration(counts.failed, counts.failed_us),
            "queue": duration(done, counts.queue_us),
            "compute_input": duration(done, 0),
            "compute_infer": duration(done, counts.compute_us),
            "compute_output": duration(done, 0),
            "cache_hit": duration(0, 0),
            "cache_miss": duration(0, 0),
        },
        "batch_stats": [],
        "memory_usage": [],
    }

"""The signature that MLflow keeps with a model, as ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelyard.core.errors import InvalidArtifact
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Datatype

_COLUMNS = {
    "boolean": Datatype.BOOL,
    "integer": Datatype.INT32,
    "long": Datatype.INT64,
    "float": Datatype.FP32,
    "double": Datatype.FP64,
    "string": Datatype.BYTES,
}
_TENSORS = {
    "bool": Datatype.BOOL,
    "uint8": Datatype.UINT8,
    "int8": Datatype.INT8,
    "int16": Datatype.INT16,
    "int32": Datatype.INT32,
    "int64": Datatype.INT64,
    "float16": Datatype.FP16,
    "float32": Datatype.FP32,
    "float64": Datatype.FP64,
    "object": Datatype.BYTES,
    "str": Datatype.BYTES,
}
_ADVICE = "log the model again with signature=infer_signature(inputs, outputs)"
Specs = tuple[TensorSpec, ...]


def read_signature(signature: Any) -> tuple[Specs, Specs, bool]:
    """Inputs, outputs, and whether the inputs are columns of a data frame.

    Raises InvalidArtifact when there is none, or one that tensors cannot carry.
    """
    if not isinstance(signature, Mapping) or not signature.get("inputs") or not signature.get("outputs"):
        raise InvalidArtifact(f"The MLflow model does not say what it takes and gives; {_ADVICE}.")
    inputs, outputs = (_items(signature[kind], kind) for kind in ("inputs", "outputs"))
    framed = all(item.get("type") != "tensor" for item in inputs)
    taken = tuple(_spec(item, f"input_{at}" if len(inputs) > 1 else "input", wide=True) for at, item in enumerate(inputs))
    given = tuple(_spec(item, f"output_{at}" if len(outputs) > 1 else "output", wide=False) for at, item in enumerate(outputs))
    return taken, given, framed


def _items(text: Any, kind: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
        raise InvalidArtifact(f"The {kind} of the MLflow model's signature cannot be read; {_ADVICE}.")
    return found


def _spec(item: dict[str, Any], usual: str, *, wide: bool) -> TensorSpec:
    """One column, [rows, 1] where it is an input, or a tensor."""
    name, kind = str(item.get("name") or usual), item.get("type")
    if kind != "tensor":
        if not isinstance(kind, str) or kind not in _COLUMNS:
            raise InvalidArtifact(f"{name!r} of the MLflow model's signature is {kind!s:.40}, which no tensor carries; use plain columns.")
        return TensorSpec(name=name, datatype=_COLUMNS[kind], shape=(-1, 1) if wide else (-1,))
    tensor = item.get("tensor-spec")
    datatype = _TENSORS.get(str(tensor.get("dtype"))) if isinstance(tensor, dict) else None
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    if datatype is None or not isinstance(shape, list) or not shape or not all(isinstance(size, int) for size in shape):
        raise InvalidArtifact(f"The tensor {name!r} of the MLflow model's signature cannot be read; {_ADVICE}.")
    return TensorSpec(name=name, datatype=datatype, shape=tuple(shape))

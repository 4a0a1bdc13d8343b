"""Arrays to and from the binary tensors of the Open Inference Protocol, and tables to records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from modelyard.core.errors import Internal, InvalidRequest, InvalidTensor
from modelyard.core.tensors import Array, Datatype, datatype_of, decode_tensor, encode_tensor

HEADER_LENGTH = "inference-header-content-length"


class TensorMetadata(msgspec.Struct):
    """A tensor in a deployment's metadata."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """The part of ``GET /v2/models/{name}`` that encoding needs."""

    inputs: list[TensorMetadata]


class _Output(msgspec.Struct):
    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class _Answer(msgspec.Struct):
    outputs: list[_Output]


def encode_call(
    arrays: Mapping[str, Array | Sequence[Any]], wanted: Mapping[str, Datatype], outputs: Sequence[str]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an inference call; arrays become the model's datatypes where that loses nothing but precision."""
    inputs, binary = [], []
    for name, given in arrays.items():
        array, datatype = fit(name, np.asarray(given), wanted.get(name))
        data = encode_tensor(array, datatype)
        inputs.append({"name": name, "shape": list(array.shape), "datatype": datatype.value, "parameters": {"binary_data_size": len(data)}})
        binary.append(data)
    request: dict[str, Any] = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    if outputs:
        request["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    head = msgspec.json.encode(request)
    return b"".join((head, *binary)), {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}


def fit(name: str, array: Array, wanted: Datatype | None) -> tuple[Array, Datatype]:
    """``array`` as the datatype that the model wants.

    Raises InvalidTensor when that would change more than precision (numbers to text, fractions to integers).
    """
    given = datatype_of(array)
    if wanted is None or wanted is given:
        return array, given
    if not _convertible(array, wanted):
        raise InvalidTensor(f"Input {name!r} wants datatype {wanted}, but an array of dtype {array.dtype} was given; convert it first.")
    return array.astype(wanted.numpy), wanted


def _convertible(array: Array, wanted: Datatype) -> bool:
    """Whether the array may become ``wanted``: a number of the same kind, or one that holds the same numbers in it."""
    if wanted is Datatype.BYTES:
        return False
    if np.can_cast(array.dtype, wanted.numpy, "same_kind"):
        return True
    if array.dtype.kind not in "biuf" or wanted.numpy.kind not in "iuf":
        return False
    with np.errstate(invalid="ignore"):
        return bool(np.array_equal(array.astype(wanted.numpy), array))


def decode_answer(body: bytes, header_length: str | None) -> dict[str, Array]:
    """Outputs of an inference answer, binary or JSON."""
    length = int(header_length) if header_length and header_length.isdigit() else len(body)
    try:
        answer = msgspec.json.decode(body[:length], type=_Answer)
    except msgspec.MsgspecError as error:
        raise Internal(f"The server's answer is not one of the Open Inference Protocol: {error}.") from error
    rest = memoryview(body)[length:]
    found: dict[str, Array] = {}
    for output in answer.outputs:
        size = output.parameters.get("binary_data_size")
        if size is None:
            found[output.name] = np.array(output.data, dtype=output.datatype.numpy).reshape(output.shape)
            continue
        array = decode_tensor(rest[:size], output.datatype, output.shape)
        found[output.name] = _as_text(array) if output.datatype is Datatype.BYTES else array
        rest = rest[size:]
    return found


def _as_text(array: Array) -> Array:
    """BYTES that are UTF-8 become ``str``, as people expect of labels."""
    flat = array.ravel()
    try:
        texts = [cast("bytes", item).decode() for item in flat]
    except UnicodeDecodeError:
        return array
    out = np.empty(len(texts), dtype=object)
    out[:] = texts
    return out.reshape(array.shape)


def is_table(data: Any) -> bool:
    """Whether ``data`` looks like a DataFrame of pandas (or of a library that follows it)."""
    return hasattr(data, "columns") and hasattr(data, "to_dict")


def table_records(data: Any) -> list[dict[str, Any]]:
    """The rows of a DataFrame as records; missing values become None."""
    columns = data.to_dict("list") if not hasattr(data, "to_dicts") else data.to_dict(as_series=False)
    names = [str(name) for name in columns]
    return [dict(zip(names, map(plain_value, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def plain_value(value: Any) -> Any:
    """A cell as JSON can say it: NumPy scalars become Python's, NaN and other missing markers become None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, float) and math.isinf(value):
        raise InvalidRequest("Infinity cannot be sent as a record; send arrays instead.")
    return value


def clean_records(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records with cells as JSON can say them.

    Raises InvalidRequest when something is not a record.
    """
    cleaned = []
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InvalidRequest(f"Record {number} is a {type(record).__name__}; each must be a dict from column names to values.")
        cleaned.append({str(name): plain_value(value) for name, value in record.items()})
    return cleaned

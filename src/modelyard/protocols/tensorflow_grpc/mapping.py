"""TensorProto and Example messages to arrays, and outcomes to messages.

Tensors come in ``tensor_content`` or in typed fields; answers are in typed fields, as TensorFlow Serving's are, which every client reads.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidRequest, InvalidTensor
from modelyard.core.inference import InferResponse
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array, Datatype, decode_tensor, element_count, encode_tensor
from modelyard.protocols.tensorflow_grpc.stubs import STUBS, message
from modelyard.protocols.tensorflow_rest import mapping as rest
from modelyard.protocols.tensorflow_rest.schemas import DEFAULT_SIGNATURE, DTYPES

MAX_RANK = 32
MAX_FILLED = 1 << 22
"""Elements that a tensor may get by repeating its last value: a few bytes may not ask for more memory than that."""
_NUMBERS = STUBS.pool.FindEnumTypeByName("tensorflow.DataType").values_by_name
_DATATYPES: dict[int, Datatype] = {_NUMBERS[name].number: datatype for datatype, name in DTYPES.items()}
_WIRE = {datatype: number for number, datatype in _DATATYPES.items()}
_FIELDS = {
    Datatype.BOOL: "bool_val",
    Datatype.UINT8: "int_val",
    Datatype.UINT16: "int_val",
    Datatype.UINT32: "uint32_val",
    Datatype.UINT64: "uint64_val",
    Datatype.INT8: "int_val",
    Datatype.INT16: "int_val",
    Datatype.INT32: "int_val",
    Datatype.INT64: "int64_val",
    Datatype.FP16: "half_val",
    Datatype.BF16: "half_val",
    Datatype.FP32: "float_val",
    Datatype.FP64: "double_val",
    Datatype.BYTES: "string_val",
}
_CLASSIFICATION = message("ClassificationResult")
_REGRESSION = message("RegressionResult")
_PREDICTED = message("PredictResponse")
_SIGNATURES = message("SignatureDefMap")


def decode_inputs(wire: Any) -> dict[str, Array]:
    """The arrays of a PredictRequest. Raises InvalidTensor that names the input."""
    return {name: _array(name, tensor) for name, tensor in wire.inputs.items()}


def _array(name: str, tensor: Any) -> Array:
    datatype = _DATATYPES.get(tensor.dtype)
    if datatype is None:
        raise InvalidTensor(f"Input {name!r} has the data type {tensor.dtype}, which models here do not take.")
    shape = tuple([dim.size for dim in tensor.tensor_shape.dim])
    if len(shape) > MAX_RANK or tensor.tensor_shape.unknown_rank or (shape and min(shape) < 0):
        raise InvalidTensor(f"Input {name!r} must have a shape of at most {MAX_RANK} sizes, none of them negative or unknown.")
    try:
        if tensor.tensor_content:
            if datatype is Datatype.BYTES:
                raise InvalidTensor("strings come in string_val, not in tensor_content.")
            return decode_tensor(tensor.tensor_content, datatype, shape)
        return _typed(tensor, datatype, shape)
    except InvalidTensor as error:
        raise InvalidTensor(f"Input {name!r}: {error.message}") from None
    except (ValueError, OverflowError):
        raise InvalidTensor(f"Input {name!r} has a value outside the range of {DTYPES[datatype]}, or a shape that is too large.") from None


def _typed(tensor: Any, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    """As TensorFlow reads them: what is missing at the end repeats the last value, and without any value all are zero."""
    field = _FIELDS[datatype]
    values, count = getattr(tensor, field), element_count(shape)
    for other, _ in tensor.ListFields():
        if other.name.endswith("_val") and other.name != field:
            raise InvalidTensor(f"{DTYPES[datatype]} comes in {field}, but {other.name} came.")
    if len(values) > count:
        raise InvalidTensor(f"shape {list(shape)} has {count} elements, but {len(values)} came.")
    if count - len(values) > MAX_FILLED:
        raise InvalidTensor(f"shape {list(shape)} has {count} elements, but only {len(values)} came.")
    if datatype is Datatype.BYTES:
        filled: Array = np.full(count, values[-1] if values else b"", object)
        filled[: len(values)] = list(values)
        return filled.reshape(shape)
    if field == "half_val":
        bits = _filled(np.array(values, np.uint16), count)
        return decode_tensor(bits.tobytes(), datatype, shape)
    return _filled(np.array(values, datatype.numpy), count).reshape(shape)


def _filled(values: Array, count: int) -> Array:
    if len(values) == count:
        return values
    whole = np.full(count, values[-1] if len(values) else 0, values.dtype)
    whole[: len(values)] = values
    return whole


def encode_predicted(name: str, response: InferResponse, asked: Iterable[str] = ()) -> bytes:
    """The answer to a Predict of deployment ``name``."""
    datatypes = {spec.name: spec.datatype for spec in response.signature.outputs}
    answer = _PREDICTED()
    fill_spec(answer.model_spec, name, response.version)
    for output in asked or response.outputs:
        _fill(answer.outputs[output], response.outputs[output], datatypes[output])
    encoded: bytes = answer.SerializeToString()
    return encoded


def fill_spec(spec: Any, name: str, version: int) -> None:
    """Says which version answered."""
    spec.name, spec.signature_name = name, DEFAULT_SIGNATURE
    spec.version.value = version


def _fill(tensor: Any, array: Array, datatype: Datatype) -> None:
    tensor.dtype = _WIRE[datatype]
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    field = getattr(tensor, _FIELDS[datatype])
    if datatype is Datatype.BYTES:
        field.extend([item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()])
    elif _FIELDS[datatype] == "half_val":
        field.extend(np.frombuffer(encode_tensor(array, datatype), "<u2").tolist())
    else:
        field.extend(array.ravel().tolist())


def decode_examples(wire: Any, signature: Signature) -> dict[str, Array]:
    """The inputs of a Classify or Regress. Raises InvalidRequest or InvalidTensor."""
    kind = wire.WhichOneof("kind")
    if kind is None:
        raise InvalidRequest("The request needs an input: an example_list, or an example_list_with_context.")
    listed = getattr(wire, kind)
    context = _features(listed.context) if kind == "example_list_with_context" else {}
    return rest.example_columns([_features(example) for example in listed.examples], context, signature)


def _features(example: Any) -> dict[str, Any]:
    return {name: _values(feature) for name, feature in example.features.feature.items()}


def _values(feature: Any) -> list[Any]:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return []
    values = list(getattr(feature, kind).value)
    return [_text(value) for value in values] if kind == "bytes_list" else values


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def classified(scores: Array, classes: tuple[str, ...]) -> Any:
    """A ClassificationResult: labels with scores for each example."""
    labels = classes if len(classes) == scores.shape[1] else ("",) * scores.shape[1]
    result = _CLASSIFICATION()
    for row in scores.tolist():
        listed = result.classifications.add()
        for label, score in zip(labels, row, strict=True):
            listed.classes.add(label=label, score=score)
    return result


def regressed(values: Array) -> Any:
    """A RegressionResult: one number for each example."""
    result = _REGRESSION()
    for value in values.reshape(-1).tolist():
        result.regressions.add(value=value)
    return result


def signature_map(signature: Signature) -> Any:
    """The one signature of a version, as a SignatureDefMap."""
    found = _SIGNATURES()
    definition = found.signature_def[DEFAULT_SIGNATURE]
    definition.method_name = "tensorflow/serving/predict"
    for spec in signature.inputs:
        _describe(definition.inputs[spec.name], spec)
    for spec in signature.outputs:
        _describe(definition.outputs[spec.name], spec)
    return found


def _describe(info: Any, spec: TensorSpec) -> None:
    info.name, info.dtype = f"{spec.name}:0", _WIRE[spec.datatype]
    for size in spec.wire_shape:
        info.tensor_shape.dim.add(size=size)

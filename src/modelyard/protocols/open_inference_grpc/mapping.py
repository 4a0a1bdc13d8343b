"""ModelInferRequest messages to arrays, and outcomes to ModelInferResponse messages.

Tensors come as raw bytes or in typed fields; answers are raw, as Triton's are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidRequest, InvalidTensor, did_you_mean
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Array, Datatype, decode_tensor, element_count, encode_tensor
from modelyard.protocols.open_inference_grpc.stubs import message
from modelyard.protocols.open_inference_rest.decoding import MAX_RANK, deadline_of, refuse_sequences, refuse_shared_memory, too_big
from modelyard.protocols.open_inference_rest.encoding import classify

_RESPONSE = message("ModelInferResponse")
_STREAMED = message("ModelStreamInferResponse")
_TYPED = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
"""The field of typed contents by datatype; FP16 and BF16 have none."""


@dataclass(slots=True)
class Decoded:
    """An infer request, and how its answer is to be written."""

    request: InferRequest
    id: str = ""
    classes: dict[str, int] = field(default_factory=dict)
    """With Triton's classification extension: how many of the best, by output."""
    final: bool = False
    """Whether the client of a stream wants to be told that an answer is the last to its request."""


def decode(wire: Any, version: str) -> Decoded:
    """Reads an infer request.

    Raises InvalidRequest, InvalidTensor for data that does not fit its own description, and Unsupported.
    """
    parameters = _parameters(wire.parameters)
    refuse_sequences(parameters)
    request = InferRequest(_arrays(wire), version=version, deadline_ns=deadline_of(parameters))
    decoded = Decoded(request, wire.id, final=parameters.get("triton_enable_empty_final_response") is True)
    if wire.outputs:
        _wishes(wire, decoded)
    return decoded


def _parameters(wire: Any) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("parameter_choice") or "bool_param") for name, value in wire.items()}


def _wishes(wire: Any, decoded: Decoded) -> None:
    names: list[str] = []
    for output in wire.outputs:
        if output.name in names:
            raise InvalidRequest(f"Output {output.name!r} is asked for twice; ask for each once.")
        names.append(output.name)
        parameters = _parameters(output.parameters)
        refuse_shared_memory(parameters, f"output {output.name!r}")
        classes = parameters.get("classification", 0)
        if type(classes) is not int or classes < 0:
            raise InvalidRequest(f"The parameter classification of output {output.name!r} must be a number of classes.")
        if classes:
            decoded.classes[output.name] = classes
    decoded.request.outputs = tuple(names)


def _arrays(wire: Any) -> dict[str, Array]:
    raw = wire.raw_input_contents
    inputs = wire.inputs
    if raw and len(raw) != len(inputs):
        raise InvalidRequest(f"raw_input_contents has {len(raw)} elements for {len(inputs)} inputs; it needs one for each, in their order.")
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(inputs):
        name = tensor.name
        if name in arrays:
            raise InvalidTensor(f"Input {name!r} comes twice; send each once.")
        if tensor.parameters:
            refuse_shared_memory(_parameters(tensor.parameters), f"input {name!r}")
        datatype, shape = _described(tensor)
        if not raw:
            arrays[name] = _typed(tensor, datatype, shape)
            continue
        if tensor.HasField("contents"):
            raise InvalidTensor(f"Input {name!r} has contents, but the request has raw_input_contents; send one of them.")
        arrays[name] = _raw(name, raw[index], datatype, shape)
    return arrays


def _described(tensor: Any) -> tuple[Datatype, tuple[int, ...]]:
    try:
        datatype = Datatype(tensor.datatype)
    except ValueError:
        hint = did_you_mean(tensor.datatype[:32].upper(), [str(kind) for kind in Datatype])
        raise InvalidTensor(f"Input {tensor.name!r} has the unknown datatype {tensor.datatype[:32]!r}.{hint}") from None
    shape = tuple(tensor.shape)
    if len(shape) > MAX_RANK:
        raise InvalidTensor(f"Input {tensor.name!r} has {len(shape)} dimensions; at most {MAX_RANK} are possible.")
    if shape and min(shape) < 0:
        raise InvalidTensor(f"Input {tensor.name!r} says shape {list(shape)}; a request's shape has no negative sizes.")
    return datatype, shape


def _raw(name: str, data: bytes, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    try:
        return decode_tensor(data, datatype, shape)
    except InvalidTensor as error:
        raise InvalidTensor(f"Input {name!r}: {error.message}") from None
    except ValueError:
        raise too_big(TensorSpec(name=name, datatype=datatype, shape=shape)) from None


def _typed(tensor: Any, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    wanted = _TYPED.get(datatype)
    if wanted is None:
        raise InvalidTensor(f"Input {tensor.name!r} ({datatype}) cannot come in typed contents; send raw_input_contents.")
    for other, _ in tensor.contents.ListFields():
        if other.name != wanted:
            raise InvalidTensor(f"Input {tensor.name!r} ({datatype}) must come in {wanted}, but {other.name} came.")
    values = getattr(tensor.contents, wanted)
    count = element_count(shape)
    if len(values) != count:
        raise InvalidTensor(f"Input {tensor.name!r} says shape {list(shape)}, which has {count} elements, but {len(values)} came.")
    if datatype is Datatype.BYTES:
        array: Array = np.empty(count, object)
        array[:] = list(values)
    else:
        try:
            array = np.array(values, datatype.numpy)
        except OverflowError:
            raise InvalidTensor(f"Input {tensor.name!r} has a number outside the range of its datatype {datatype}.") from None
    try:
        return array.reshape(shape)
    except ValueError:
        raise too_big(TensorSpec(name=tensor.name, datatype=datatype, shape=shape)) from None


def encode(name: str, decoded: Decoded, response: InferResponse) -> bytes:
    """The answer to a ModelInfer of deployment ``name``."""
    answer: bytes = _answer(name, decoded, response).SerializeToString()
    return answer


def encode_streamed(name: str, decoded: Decoded, response: InferResponse) -> bytes:
    """The same as a message of a stream."""
    inner = _answer(name, decoded, response)
    if decoded.final:
        inner.parameters["triton_final_response"].bool_param = True
    answer: bytes = _STREAMED(infer_response=inner).SerializeToString()
    return answer


def _answer(name: str, decoded: Decoded, response: InferResponse) -> Any:
    datatypes = {spec.name: spec.datatype for spec in response.signature.outputs}
    answer = _RESPONSE(model_name=name, model_version=str(response.version), id=decoded.id)
    for output, values in response.outputs.items():
        count = decoded.classes.get(output, 0)
        datatype = Datatype.BYTES if count else datatypes[output]
        array = classify(values, count, response.signature.classes) if count else values
        answer.outputs.add(name=output, datatype=datatype, shape=array.shape)
        answer.raw_output_contents.append(encode_tensor(array, datatype))
    return answer

"""Bodies of infer requests to arrays: JSON, and Triton's binary tensors behind a JSON header."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Final

import msgspec
import numpy as np

from modelyard.core.errors import InvalidRequest, InvalidTensor, Unsupported, did_you_mean
from modelyard.core.inference import InferRequest
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import NUMPY, Array, Datatype, decode_tensor, element_count, encode_tensor
from modelyard.core.unreadable import UNREADABLE
from modelyard.protocols.json_tensors import array_from_json, parse_json
from modelyard.protocols.open_inference_rest.schemas import FAST, HEADER, AnyBody, AnyTensor, FastBody, OutputWish, Parameters
from modelyard.protocols.open_inference_rest.vectorized import FROM_BYTES, Reader
from modelyard.serving.router import ServedView

MAX_RANK: Final = 32
_NO_PARAMETERS: Final[Parameters] = {}
_READER = Reader()
_CODES: Final = {NUMPY[datatype]: code for datatype, code in zip(FAST, "?BHIQbhiqefd", strict=True)}
"""``struct``'s letters for dtypes."""
_PACKERS: Final[dict[tuple[np.dtype[np.generic], int], Callable[..., bytes]]] = {}
_FEW: Final = 256


class Wish(msgspec.Struct):
    """How one output is wanted."""

    binary: bool
    classes: int = 0
    """With Triton's classification extension: how many of the best."""


class Decoded(msgspec.Struct):
    """An infer request, and how its answer is to be written."""

    request: InferRequest
    id: str = ""
    wishes: Mapping[str, Wish] | None = None
    """By output; None when all of them are wanted alike."""
    binary: bool = False
    """The wish for outputs that ``wishes`` does not name."""


def decode(body: bytes, header_length: bytes | None, view: ServedView, version: str) -> Decoded:
    """Reads an infer request. ``view`` only says which form to expect first; the request speaks for itself.

    Raises InvalidRequest for a malformed body, InvalidTensor for data that does not fit its own description, Unsupported.
    """
    if header_length is not None:
        return _decode_binary(body, header_length, view, version)
    inputs = view.signature.inputs
    datatype = inputs[0].datatype if inputs else ""
    if len(body) >= FROM_BYTES and datatype:
        found = _READER.read(body, datatype)
        if found is not None:
            return Decoded(InferRequest(found[0], version=version), found[1])
    decoder = FAST.get(datatype)
    if decoder is not None:
        try:
            fast = decoder.decode(body)
        except UNREADABLE:
            pass  # the general way says what is wrong, or accepts it
        else:
            arrays = _fast_arrays(fast, datatype)
            if arrays is not None:
                if fast.outputs is None and fast.parameters is None:
                    return Decoded(InferRequest(arrays, version=version), fast.id)
                return _with_wishes(fast, arrays, version)
    document = parse_json(body)
    general = _convert(document)
    return _with_wishes(general, _general_arrays(general, memoryview(b"")), version)


def _fast_arrays(body: FastBody[Any], datatype: str) -> dict[str, Array] | None:
    """The inputs as arrays; None when some is not of the usual form after all."""
    dtype = NUMPY[datatype]
    arrays: dict[str, Array] = {}
    for tensor in body.inputs:
        if tensor.datatype != datatype or tensor.parameters is not None:
            return None
        try:
            arrays[tensor.name] = _array(tensor.data, dtype, tensor.shape)
        except (ValueError, OverflowError):
            return None
    return arrays if len(arrays) == len(body.inputs) else None


def _array(data: list[Any], dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    """Numbers as an array. Raises ValueError when they are not as many as the shape says, OverflowError for those that do not fit."""
    size = len(data)
    if size == (shape[0] * shape[1] if len(shape) == 2 else prod(shape)):
        try:
            # Half the time that NumPy takes to look at each element, and it refuses what would become infinity.
            return np.ndarray(shape, dtype, bytearray(_packer(dtype, size)(*data)))
        except struct.error:
            pass  # null stands among them
    with np.errstate(over="ignore"):
        array = np.array(data, dtype).reshape(shape)
    if dtype.kind == "f" and np.isinf(array).any():
        raise OverflowError
    return array


def _packer(dtype: np.dtype[np.generic], size: int) -> Callable[..., bytes]:
    """What writes so many numbers side by side; kept for the few sizes that rows have."""
    known = _PACKERS.get((dtype, size))
    if known is None:
        if len(_PACKERS) >= _FEW:
            _PACKERS.clear()
        known = _PACKERS[dtype, size] = struct.Struct(f"={size}{_CODES[dtype]}").pack
    return known


def _convert(document: Any) -> AnyBody:
    try:
        return msgspec.convert(document, AnyBody)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body is not an infer request: {_plain(error)}.") from None


def _plain(error: Exception) -> str:
    text = str(error).replace("`", "'")
    return text[:1].lower() + text[1:]


def _general_arrays(body: AnyBody, rest: memoryview) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for tensor in body.inputs:
        if tensor.name in arrays:
            raise InvalidTensor(f"Input {tensor.name!r} comes twice; send each once.")
        parameters = tensor.parameters or _NO_PARAMETERS
        refuse_shared_memory(parameters, f"input {tensor.name!r}")
        spec = _spec(tensor)
        size = parameters.get("binary_data_size")
        if size is None:
            arrays[tensor.name] = _from_json(tensor, spec)
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise InvalidTensor(
                f"Input {tensor.name!r} says that it has {str(size)[:40]} binary bytes, but {len(rest)} are left in the body; "
                "check binary_data_size and the Inference-Header-Content-Length header."
            )
        if tensor.data is not msgspec.UNSET:
            raise InvalidTensor(f"Input {tensor.name!r} has both data and binary_data_size; send one of them.")
        arrays[tensor.name] = _from_bytes(rest[:size], spec)
        rest = rest[size:]
    if len(rest):
        raise InvalidRequest(f"The body has {len(rest)} bytes after its last tensor; check the inputs' binary_data_size.")
    return arrays


def _spec(tensor: AnyTensor) -> TensorSpec:
    try:
        datatype = Datatype(tensor.datatype)
    except ValueError:
        known = [str(kind) for kind in Datatype]
        hint = did_you_mean(tensor.datatype[:32].upper(), known)
        raise InvalidTensor(f"Input {tensor.name!r} has the unknown datatype {tensor.datatype[:32]!r}.{hint}") from None
    if len(tensor.shape) > MAX_RANK:
        raise InvalidTensor(f"Input {tensor.name!r} has {len(tensor.shape)} dimensions; at most {MAX_RANK} are possible.")
    return TensorSpec(name=tensor.name, datatype=datatype, shape=tensor.shape)


def _from_bytes(data: memoryview, spec: TensorSpec) -> Array:
    shape = _concrete(spec)
    try:
        # A copy: a slice of the body need not be aligned as its dtype wants it.
        return decode_tensor(bytes(data), spec.datatype, shape)
    except InvalidTensor as error:
        raise InvalidTensor(f"Input {spec.name!r}: {error.message}") from None
    except (ValueError, OverflowError):
        raise too_big(spec) from None


def _from_json(tensor: AnyTensor, spec: TensorSpec) -> Array:
    if tensor.data is msgspec.UNSET:
        raise InvalidTensor(f"Input {tensor.name!r} has no data; give it as 'data', or behind the JSON with binary_data_size.")
    if not isinstance(tensor.data, list):
        raise InvalidTensor(f"The data of input {tensor.name!r} must be a list, flat or nested as its shape says.")
    shape = _concrete(spec)
    array = array_from_json(tensor.data, spec)
    # Nested data has the shape itself; flat data is in row-major order. A last dimension of one may be left out of the nesting.
    if array.ndim > 1 and array.shape != shape:
        raise InvalidTensor(f"Input {spec.name!r} says shape {list(shape)}, but its data is nested as {list(array.shape)}.")
    if array.size != element_count(shape):
        raise InvalidTensor(
            f"Input {spec.name!r} says shape {list(shape)}, which has {element_count(shape)} elements, but its data has {array.size}."
        )
    try:
        array = array.reshape(shape)
    except (ValueError, OverflowError):
        raise too_big(spec) from None
    # What JSON says more precisely than bfloat16 can hold is rounded, as a binary tensor would be.
    return array if spec.datatype is not Datatype.BF16 else decode_tensor(encode_tensor(array, Datatype.BF16), Datatype.BF16, shape)


def _concrete(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size for size in spec.shape if isinstance(size, int))


def too_big(spec: TensorSpec) -> InvalidTensor:
    """The error of a shape that NumPy refuses."""
    return InvalidTensor(f"Input {spec.name!r} has a shape that no array can have: {spec.wire_shape[:8]}.")


def _with_wishes(body: FastBody[Any] | AnyBody, arrays: dict[str, Array], version: str) -> Decoded:
    parameters = body.parameters or _NO_PARAMETERS
    refuse_sequences(parameters)
    request = InferRequest(arrays, version=version, deadline_ns=deadline_of(parameters))
    binary = parameters.get("binary_data_output") is True
    if not body.outputs:
        return Decoded(request, body.id, None, binary)
    wishes: dict[str, Wish] = {}
    for output in body.outputs:
        if output.name in wishes:
            raise InvalidRequest(f"Output {output.name!r} is asked for twice; ask for each once.")
        wishes[output.name] = _wish(output, binary)
    request.outputs = tuple(wishes)
    return Decoded(request, body.id, wishes, binary)


def _wish(output: OutputWish, binary: bool) -> Wish:
    parameters = output.parameters or _NO_PARAMETERS
    refuse_shared_memory(parameters, f"output {output.name!r}")
    own = parameters.get("binary_data", binary)
    if not isinstance(own, bool):
        raise InvalidRequest(f"The parameter binary_data of output {output.name!r} must be true or false.")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise InvalidRequest(f"The parameter classification of output {output.name!r} must be a number of classes.")
    return Wish(own, classes)


def refuse_shared_memory(parameters: Parameters, where: str) -> None:
    """Raises Unsupported for a tensor that lies in shared memory."""
    if "shared_memory_region" in parameters:
        raise Unsupported(f"Shared memory is not supported here ({where}); send the data in the body.")


def refuse_sequences(parameters: Parameters) -> None:
    """Raises Unsupported for a request that is part of a sequence."""
    if parameters.get("sequence_id") or parameters.get("sequence_start") or parameters.get("sequence_end"):
        raise Unsupported("Sequences are not supported: no state is kept between calls. Send each call complete.")


def deadline_of(parameters: Parameters) -> int:
    """The monotonic time at which the request parameter ``timeout`` (microseconds) runs out; 0 without one."""
    timeout = parameters.get("timeout", 0)
    if type(timeout) is not int or timeout < 0:
        raise InvalidRequest("The parameter timeout must be a whole number of microseconds.")
    return time.monotonic_ns() + timeout * 1000 if timeout else 0


def _decode_binary(body: bytes, header_length: bytes, view: ServedView, version: str) -> Decoded:
    if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
        raise InvalidRequest(
            f"The header Inference-Header-Content-Length must be the number of bytes of JSON at the begin of the body, 0 to {len(body)}."
        )
    length = int(header_length)
    if length == 0:
        return Decoded(InferRequest({view.signature.inputs[0].name: _raw(body, view)}, version=version), "", None, True)
    try:
        header = HEADER.decode(memoryview(body)[:length])
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body is not an infer request: {_plain(error)}.") from None
    except UNREADABLE:
        header = _convert(parse_json(body[:length]))
    return _with_wishes(header, _general_arrays(header, memoryview(body)[length:]), version)


def _raw(body: bytes, view: ServedView) -> Array:
    """Triton's raw binary request: the body is the one input's data, and all sizes but one follow from the signature."""
    inputs = view.signature.inputs
    spec = inputs[0]
    open_sizes = [size for size in spec.wire_shape if size < 0]
    if len(inputs) != 1 or len(open_sizes) > 1:
        raise InvalidRequest(
            "A body without a JSON header can only be for a model with one input and at most one open dimension; send the header."
        )
    if spec.datatype is Datatype.BYTES:
        shape = tuple(1 if size < 0 else size for size in spec.wire_shape)
        if element_count(shape) != 1:
            raise InvalidRequest("A body without a JSON header can hold one text only; send the header.")
        array = np.empty(1, object)
        array[0] = body
        return array.reshape(shape)
    width = spec.datatype.wire_size or 1
    for size in spec.wire_shape:
        width *= size if size >= 0 else 1
    rows, left = divmod(len(body), width) if width else (0, len(body))
    shape = tuple(rows if size < 0 else size for size in spec.wire_shape)
    if left or (not open_sizes and rows != 1):
        raise InvalidTensor(f"The body has {len(body)} bytes, but input {spec.name!r} of shape {spec.wire_shape} takes {width} a row.")
    return decode_tensor(body, spec.datatype, shape)

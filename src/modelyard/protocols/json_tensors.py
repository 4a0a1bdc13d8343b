"""Nested JSON lists to arrays and back, strictly by the signature: shared by the protocols that speak plain JSON.

A list becomes an array without guessing: the signature gives the dtype, every value must be of the JSON type that the dtype
means, and lists must be rectangular. Null is NaN for floating-point numbers and ``""`` for text; elsewhere it is an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from itertools import chain
from typing import Any

import numpy as np
import orjson

from modelyard.core.errors import InvalidRequest, InvalidTensor
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Array, Datatype

_MAX_RANK = 32
_NULL = type(None)
_NUMBERS = frozenset({int, float, _NULL})
_TEXTS = frozenset({str, _NULL})
_WHOLE = frozenset({int})
_TRUTHS = frozenset({bool})
_SAID: dict[type, str] = {
    str: "text",
    bool: "true or false",
    float: "a decimal number",
    int: "a whole number",
    dict: "an object",
    list: "a list",
}


def parse_json(body: bytes) -> Any:
    """The document in ``body``; the tokens ``NaN``, ``Infinity`` and ``-Infinity`` are numbers.

    Raises InvalidRequest for anything that is not one JSON document in UTF-8.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise InvalidRequest(_not_json(body, str(error))) from None
    return _parse_tolerantly(body)


def _parse_tolerantly(body: bytes) -> Any:
    try:
        text = body.decode()
        document = json.loads(text)
        if "\\u" in text:  # a lone surrogate is no character: it could not be written again
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(_not_json(body, str(error))) from None
    return document


def _not_json(body: bytes, reason: str) -> str:
    if not body.strip():
        return "The body is empty, but a JSON document is wanted."
    return f"The body is not valid JSON in UTF-8: {reason}."


def array_from_json(value: Any, spec: TensorSpec) -> Array:
    """The tensor ``spec`` from a scalar or nested lists.

    Where the signature ends in a dimension of one element and the caller leaves it out (``[1, 2]`` for shape ``[-1, 1]``), it is
    added. Raises InvalidTensor for ragged lists and for values that the datatype cannot hold exactly in kind.
    """
    flat, shape = _flatten(value, spec)
    array = _fill(flat, spec).reshape(shape)
    if array.ndim + 1 == len(spec.shape) and spec.shape[-1] == 1 and array.ndim > 0:
        array = array[..., np.newaxis]
    return array


def _flatten(value: Any, spec: TensorSpec) -> tuple[list[Any], tuple[int, ...]]:
    """All values in row-major order, and the shape; works level by level, so that depth costs no recursion."""
    if type(value) is not list:
        return [value], ()
    shape = [len(value)]
    level = value
    while level:
        kinds = set(map(type, level))
        if list not in kinds:
            break
        if len(kinds) > 1:
            raise InvalidTensor(f"Input {spec.name!r} mixes lists and single values at depth {len(shape)}; all must be of the same shape.")
        sizes = set(map(len, level))
        if len(sizes) > 1:
            raise InvalidTensor(
                f"Input {spec.name!r} is ragged: its lists at depth {len(shape) + 1} have {min(sizes)} to {max(sizes)} elements; "
                "all must have the same number."
            )
        if len(shape) == _MAX_RANK:
            raise InvalidTensor(f"Input {spec.name!r} is nested deeper than {_MAX_RANK} lists; it wants shape {spec.wire_shape}.")
        shape.append(sizes.pop())
        level = list(chain.from_iterable(level))
    return level, tuple(shape)


def _fill(flat: list[Any], spec: TensorSpec) -> Array:
    datatype = spec.datatype
    if datatype is Datatype.BYTES:
        return _texts(flat, spec)
    kinds = set(map(type, flat))
    allowed = _NUMBERS if datatype.is_float else _TRUTHS if datatype is Datatype.BOOL else _WHOLE
    if not kinds <= allowed:
        raise _wrong_kind(flat, kinds - allowed, spec)
    try:
        with np.errstate(over="ignore"):
            array = np.array(flat, dtype=datatype.numpy)
    except OverflowError:
        raise _out_of_range(spec) from None
    if datatype.is_float and not np.isfinite(array).all():
        _check_overflow(flat, array, spec)
    return array


def _check_overflow(flat: list[Any], array: Array, spec: TensorSpec) -> None:
    """Infinity may only stand where the caller wrote infinity."""
    for index in np.flatnonzero(np.isinf(array)):
        if not math.isinf(flat[index]):
            raise _out_of_range(spec)


def _out_of_range(spec: TensorSpec) -> InvalidTensor:
    return InvalidTensor(f"Input {spec.name!r} has a number outside the range of its datatype {spec.datatype}.")


def _wrong_kind(flat: list[Any], wrong: set[type], spec: TensorSpec) -> InvalidTensor:
    value = next(item for item in flat if type(item) in wrong)
    wanted = "numbers" if spec.datatype.is_float else "true or false" if spec.datatype is Datatype.BOOL else "whole numbers"
    if spec.datatype is Datatype.BYTES:
        wanted = "text"
    if value is None:
        return InvalidTensor(f"Input {spec.name!r} ({spec.datatype}) cannot be null: only decimal numbers and text can be missing.")
    hint = " Numbers are written without quotes." if isinstance(value, str) and wanted.endswith("numbers") else ""
    return InvalidTensor(f"Input {spec.name!r} ({spec.datatype}) wants {wanted}, but {_SAID[type(value)]} came: {shorten(value)}.{hint}")


def _texts(flat: list[Any], spec: TensorSpec) -> Array:
    kinds = set(map(type, flat))
    if dict in kinds:
        flat = [from_base64(item, spec.name) if type(item) is dict else item for item in flat]
        kinds.discard(dict)
    if not kinds <= _TEXTS:
        raise _wrong_kind(flat, kinds - _TEXTS, spec)
    array = np.empty(len(flat), dtype=object)
    array[:] = ["" if item is None else item for item in flat] if _NULL in kinds else flat
    return array


def is_base64(value: Any) -> bool:
    """Whether a JSON value is ``{"b64": "..."}``, the way to write bytes."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def from_base64(value: Any, name: str) -> bytes:
    """The bytes that ``{"b64": "..."}`` stands for; missing padding is added.

    Raises InvalidTensor, naming the input, for any other object and for text that is not base64.
    """
    if not is_base64(value):
        raise InvalidTensor(f'Input {name!r} wants text, or bytes as {{"b64": "..."}}, but {shorten(value)} came.')
    text: str = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidTensor(f"Input {name!r} has a 'b64' value that is not base64.") from None


def shorten(value: Any) -> str:
    """A value for an error message: its JSON, cut to a readable length."""
    if isinstance(value, list | dict) and len(value) > 8:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)} elements"
    text = repr(value) if not isinstance(value, str) else json.dumps(value[:64], ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def json_from_array(array: Array, *, as_base64: bool = False) -> orjson.Fragment:
    """The nested JSON lists of an array, with ``NaN``, ``Infinity`` and ``-Infinity`` as bare tokens.

    Floating-point numbers are written as briefly as their own width allows (0.1, not 0.10000000149011612). Text that is not UTF-8,
    and all text when ``as_base64`` is set, is written as ``{"b64": "..."}``.
    """
    if array.dtype.kind in "OSU":
        return orjson.Fragment(orjson.dumps(_text_values(array, as_base64=as_base64)))
    if array.ndim == 0:
        return orjson.Fragment(_numbers(array.reshape(1))[1:-1])
    return orjson.Fragment(_numbers(array))


def _numbers(array: Array) -> bytes:
    # Memory order and byte order are the serializer's conditions.
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    if array.dtype.kind != "f":
        return text
    finite = np.isfinite(array)
    if finite.all():
        return text
    # The serializer writes null for exactly the values that are not finite, in order: each is replaced by its token.
    odd = array[~finite]
    tokens = [b"NaN" if np.isnan(value) else b"Infinity" if value > 0 else b"-Infinity" for value in odd]
    pieces = text.split(b"null")
    return b"".join(chain.from_iterable(zip(pieces, [*tokens, b""], strict=True)))


def _text_values(array: Array, *, as_base64: bool) -> Any:
    flat = np.empty(array.size, dtype=object)
    flat[:] = [_text_value(item, as_base64=as_base64) for item in array.ravel().tolist()]
    return flat.reshape(array.shape).tolist()


def _text_value(item: Any, *, as_base64: bool) -> Any:
    if as_base64 or isinstance(item, bytes):
        raw = item if isinstance(item, bytes) else str(item).encode(errors="surrogateescape")
        if not as_base64:
            try:
                return raw.decode()
            except UnicodeDecodeError:
                pass
        return {"b64": base64.b64encode(raw).decode()}
    return str(item)


def rows_from_array(array: Array, *, as_base64: bool = False) -> list[Any]:
    """The JSON of each row of a batched array, ready to be put into one object a row."""
    if array.dtype.kind in "OSU":
        values: list[Any] = _text_values(array, as_base64=as_base64)
        return values
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            return [json_from_array(row) for row in array]
        # Through JSON and back: the shortest digits of float32 are also those of the float that reads them.
        rows: list[Any] = orjson.loads(_numbers(array))
        return rows
    listed: list[Any] = array.tolist()
    return listed

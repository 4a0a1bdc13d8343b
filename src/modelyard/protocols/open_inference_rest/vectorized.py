"""Large infer requests in the usual form, read by simdjson: numbers go from text to an array without a Python object for each.

Several times faster than making a list first from a few hundred numbers on. Needs the extra ``fast``; without it, and for whatever is
not exactly of this form, nothing is lost: the other decoders read it, or say what is wrong.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from modelyard.core.tensors import NUMPY, Array, Datatype

FROM_BYTES = 1500
"""Smaller bodies are read as fast by the other decoders."""
_KEPT_BYTES = 4 << 20
"""A parser keeps memory for the largest body it has read; one that has read more than this is not kept."""
_KINDS = {
    Datatype.FP32: ("d", np.dtype(np.float64)),
    Datatype.FP64: ("d", np.dtype(np.float64)),
    Datatype.INT64: ("i", np.dtype(np.int64)),
}
_LARGEST = float(np.finfo(np.float32).max)
_UNUSUAL = (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError)
"""What simdjson raises of a document that is not JSON, or not as it was taken to be."""


@cache
def _parser_class() -> Any:
    """simdjson's parser, loaded with the first large request; None where it is not installed."""
    try:
        from simdjson import Parser
    except ImportError:
        return None
    return Parser


class Reader:
    """Reads one request at a time; belongs to the event loop."""

    def __init__(self) -> None:
        self._parser: Any = None

    def read(self, body: bytes, datatype: str) -> tuple[dict[str, Array], str] | None:
        """The inputs, all of ``datatype``, and the request's id; None when it is to be read another way."""
        kind = _KINDS.get(Datatype(datatype))
        make = _parser_class()
        if make is None or kind is None:
            return None
        parser = self._parser or make()
        self._parser = None
        try:
            found = _inputs(parser.parse(body), body, datatype, *kind)
        except _UNUSUAL:
            return None  # and without the parser, which may not be used again while an object of its document is alive
        if len(body) <= _KEPT_BYTES:
            self._parser = parser
        return found


def _inputs(document: Any, body: bytes, datatype: str, code: str, wide: np.dtype[Any]) -> tuple[dict[str, Array], str] | None:
    inputs = document["inputs"]
    # A bracket around the inputs, and two lists in each: no data is nested, which a buffer would not show. Members are counted rather
    # than asked for: simdjson answers for one that is absent with a C++ exception, which costs as much as all the rest.
    members = len(document)
    if members > 2 or body.count(b"[") != 1 + 2 * len(inputs):
        return None
    request_id = document["id"] if members == 2 else ""
    if type(request_id) is not str:
        return None
    arrays: dict[str, Array] = {}
    for tensor in inputs:
        name, shape = tensor["name"], tuple(tensor["shape"].as_list())
        if len(tensor) != 4 or tensor["datatype"] != datatype or type(name) is not str:
            return None
        array = np.frombuffer(tensor["data"].as_buffer(of_type=code), wide)
        if any(type(size) is not int or size < 0 for size in shape) or prod(shape) != len(array):
            return None
        if datatype == Datatype.FP32 and len(array) and np.maximum.reduce(np.abs(array)) > _LARGEST:
            return None
        arrays[name] = array.astype(NUMPY[Datatype(datatype)]).reshape(shape)
    return (arrays, request_id) if len(arrays) == len(inputs) else None

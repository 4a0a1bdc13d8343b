"""Outcomes of calls to answers: JSON, or a JSON header with binary tensors behind it.

JSON has no NaN and no infinities: they are written as null, which is NaN when it is sent back. Binary outputs carry them exactly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson

from modelyard.core.errors import Unsupported
from modelyard.core.inference import InferResponse
from modelyard.core.runs import Run, Share
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Array, Datatype, encode_tensor
from modelyard.protocols.open_inference_rest.decoding import Decoded, Wish
from modelyard.protocols.open_inference_rest.errors import JSON
from modelyard.protocols.routing import Reply

_ALIKE: Final = {False: Wish(binary=False), True: Wish(binary=True)}


def encode(name: str, decoded: Decoded, response: InferResponse) -> Reply:
    """The answer to an infer request of deployment ``name``.

    Raises Unsupported for text that is not UTF-8 and is wanted as JSON.
    """
    if decoded.wishes is None and not decoded.binary:
        share = response.outputs
        if type(share) is Share and share.end - share.first == 1 and not decoded.id:
            answers = share.run.answers.get(name)
            if answers is None:
                answers = share.run.answers[name] = _answers(name, response, share.run)
            if answers:
                return 200, JSON, answers[share.first]
        plain = _plain(name, decoded.id, response)
        if plain is not None:
            return 200, JSON, plain
    specs = {spec.name: spec for spec in response.signature.outputs}
    outputs: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for output, array in response.outputs.items():
        wish = decoded.wishes[output] if decoded.wishes is not None else _ALIKE[decoded.binary]
        outputs.append(_output(specs[output], array, wish, response, chunks))
    document: dict[str, Any] = {"model_name": name, "model_version": str(response.version)}
    if decoded.id:
        document["id"] = decoded.id
    document["outputs"] = outputs
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not chunks:
        return 200, JSON, head
    headers = [(b"content-type", b"application/octet-stream"), (b"inference-header-content-length", str(len(head)).encode())]
    return 200, headers, b"".join([head, *chunks])


def _plain(name: str, request_id: str, response: InferResponse) -> bytes | None:
    """The usual answer, all outputs as JSON numbers, put together from bytes; None when some output is text."""
    parts: list[bytes] = []
    arrays = response.outputs
    for spec in response.signature.outputs:
        if spec.datatype is Datatype.BYTES:
            return None
        if type(arrays) is Share:
            shape, values = _share_of(arrays, spec.name)
        else:
            array = arrays[spec.name]
            shape, values = array.shape, orjson.dumps(array.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        parts.append(b"%b[%b]}" % (_described(spec.name, spec.datatype, shape), values))
    own = b'"id":%b,' % orjson.dumps(request_id) if request_id else b""
    return b'%b%b"outputs":[%b]}' % (_named(name, response.version), own, parts[0] if len(parts) == 1 else b",".join(parts))


def _share_of(share: Share, name: str) -> tuple[tuple[int, ...], bytes]:
    """Shape and numbers of one call's rows. The rows of a run are written once, for all its calls."""
    run, first, end = share.run, share.first, share.end
    array = run.outputs[name]
    shape = (end - first, *array.shape[1:])
    if not array.size:
        return shape, b""
    rows = _rows_json(run, name)
    return shape, rows[first] if end - first == 1 else b",".join(rows[first:end])


def _rows_json(run: Run, name: str) -> list[bytes]:
    """See ``Run.rows_json``."""
    rows = run.rows_json.get(name)
    if rows is None:
        array = run.outputs[name]
        flat = np.ascontiguousarray(array).reshape(len(array), -1)
        rows = run.rows_json[name] = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    return rows


def _answers(name: str, response: InferResponse, run: Run) -> list[bytes]:
    """See ``Run.answers``; empty when some output is text, or has no numbers in a row."""
    columns: list[list[bytes]] = []
    for spec in response.signature.outputs:
        array = run.outputs[spec.name]
        if spec.datatype is Datatype.BYTES or not array.size:
            return []
        begin = b"%b[" % _described(spec.name, spec.datatype, (1, *array.shape[1:]))
        columns.append([begin + row for row in _rows_json(run, spec.name)])
    begin = _named(name, response.version) + b'"outputs":['
    if len(columns) == 1:
        return [b"%b%b]}]}" % (begin, row) for row in columns[0]]
    return [b"%b%b]}]}" % (begin, b"]},".join(row)) for row in zip(*columns, strict=True)]


@lru_cache(4096)
def _named(name: str, version: int) -> bytes:
    """The begin of an answer; the same for all calls of a deployment's version."""
    return b'{"model_name":%b,"model_version":"%d",' % (orjson.dumps(name), version)


@lru_cache(4096)
def _described(name: str, datatype: Datatype, shape: tuple[int, ...]) -> bytes:
    """The begin of an output; the same for all answers of equal shape."""
    return b'{"name":%b,"datatype":"%b","shape":%b,"data":' % (orjson.dumps(name), datatype.encode(), orjson.dumps(shape))


def _output(spec: TensorSpec, array: Array, wish: Wish, response: InferResponse, chunks: list[bytes]) -> dict[str, Any]:
    datatype = spec.datatype
    if wish.classes:
        array, datatype = classify(array, wish.classes, response.signature.classes), Datatype.BYTES
    described: dict[str, Any] = {"name": spec.name, "datatype": datatype, "shape": array.shape}
    if wish.binary:
        data = encode_tensor(array, datatype)
        described["parameters"] = {"binary_data_size": len(data)}
        chunks.append(data)
    elif datatype is Datatype.BYTES:
        described["data"] = _texts(spec.name, array)
    else:
        # The serializer reads C-contiguous memory only; ravel copies where it is not.
        described["data"] = array.ravel()
    return described


def _texts(name: str, array: Array) -> list[str]:
    try:
        return [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise Unsupported(f"Output {name!r} holds bytes that are not UTF-8 text; ask for it with binary_data true.") from None


def classify(array: Array, count: int, classes: tuple[str, ...]) -> Array:
    """Triton's classification: of each row the ``count`` largest values as ``value:index[:class]``."""
    if array.dtype.kind not in "fiu" or array.ndim == 0:
        raise Unsupported("Only outputs that are lists of numbers can be classified; leave the parameter classification out.")
    count = min(count, array.shape[-1])
    best = np.argsort(-array.astype(np.float64), axis=-1, kind="stable")[..., :count]
    values = np.take_along_axis(array, best, axis=-1)
    out = np.empty(best.size, object)
    out[:] = [
        f"{value:f}:{index}" + (f":{classes[index]}" if index < len(classes) else "")
        for value, index in zip(values.ravel().tolist(), best.ravel().tolist(), strict=True)
    ]
    return out.reshape(best.shape)

"""Records by column name to tensors, and tensors to one object a record."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import orjson

from modelyard.core.errors import InvalidRequest, InvalidTensor, did_you_mean
from modelyard.core.inference import InferResponse
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array, Datatype
from modelyard.protocols.json_tensors import array_from_json, parse_json, rows_from_array, shorten
from modelyard.protocols.records.table import records_from_csv

VALUES = "values"
"""What a record of a model with one input may call that input, whatever its name."""
_KEYS = frozenset({"records", "record"})
MAX_QUERY_COLUMNS = 256


def decode(body: bytes, content_type: bytes | None, signature: Signature) -> dict[str, Array]:
    """The inputs of a predict body, JSON or CSV by its content type.

    Raises InvalidRequest, or one of its kinds that names the record and the column.
    """
    kind = (content_type or b"application/json").partition(b";")[0].strip().lower()
    if kind == b"text/csv":
        return tensors(records_from_csv(body, signature), signature)
    if kind in (b"application/json", b"application/x-www-form-urlencoded", b"text/plain") or kind.endswith(b"+json"):
        # curl -d says form data unless it is told otherwise; the body is JSON all the same.
        return tensors(records_of(parse_json(body), signature), signature)
    raise InvalidRequest(f"A body of type {kind.decode('latin-1')[:64]!r} cannot be read; send application/json or text/csv.")


def records_of(document: Any, signature: Signature) -> list[Any]:
    """The list of records in a body: ``{"records": [...]}``, or ``{"record": {...}}`` for one.

    Raises InvalidRequest that shows the form.
    """
    if type(document) is not dict or not _KEYS & document.keys():
        example = orjson.dumps({"records": [example_record(signature)]}).decode()
        raise InvalidRequest(f"The body must be an object with 'records', a list of objects, like {example[:400]}.")
    unknown = sorted(document.keys() - _KEYS)
    if unknown:
        raise InvalidRequest(f"The body has an unknown key {unknown[0][:64]!r}.{did_you_mean(unknown[0], _KEYS)} It has 'records' only.")
    if len(document) > 1:
        raise InvalidRequest("The body has 'record' and 'records'; give one of them.")
    if "record" in document:
        return [document["record"]]
    records = document["records"]
    if type(records) is not list:
        raise InvalidRequest(f"'records' must be a list of objects, but {shorten(records)} came.")
    return records


def tensors(records: list[Any], signature: Signature) -> dict[str, Array]:
    """Records as tensors, one row a record.

    Raises InvalidRequest or InvalidTensor that names the record and the column.
    """
    if not records:
        raise InvalidRequest("There are no records; give at least one.")
    _check_columns(records, signature)
    return {spec.name: column for spec in signature.inputs if (column := _column(records, spec, signature)) is not None}


def _check_columns(records: list[Any], signature: Signature) -> None:
    known = {spec.name for spec in signature.inputs}
    if len(known) == 1:
        known.add(VALUES)
    for index, record in enumerate(records):
        if type(record) is not dict:
            raise InvalidRequest(f"Record {index} must be an object of column names and values, but {shorten(record)} came.")
        if record.keys() <= known:
            continue
        name = sorted(record.keys() - known)[0]
        columns = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidTensor(
            f"Record {index} has a column {name[:64]!r} that the model does not take.{did_you_mean(name, known)} Its columns: {columns}."
        )


def _column(records: list[Any], spec: TensorSpec, signature: Signature) -> Array | None:
    """One input of all records; None when it is optional and stands in none of them."""
    alias = VALUES if len(signature.inputs) == 1 and spec.name != VALUES else None
    if alias is None:
        try:
            return _array([record[spec.name] for record in records], spec)
        except KeyError:
            pass  # some record lacks it: which one, and whether it may, is found out below
    values = [_value(record, index, spec, alias) for index, record in enumerate(records)]
    if all(value is _ABSENT for value in values):
        return None
    return _array([None if value is _ABSENT else value for value in values], spec)


_ABSENT = object()


def _value(record: dict[str, Any], index: int, spec: TensorSpec, alias: str | None) -> Any:
    if alias in record:
        if spec.name in record:
            raise InvalidTensor(f"Record {index} has {spec.name!r} and {alias!r}, which mean the same here; give one of them.")
        return record[alias]
    if spec.name in record:
        return record[spec.name]
    if spec.optional:
        return _ABSENT
    hint = did_you_mean(spec.name, record)
    raise InvalidTensor(f"Record {index} lacks the column {spec.name!r}.{hint} Write null where its value is unknown.")


def _array(values: list[Any], spec: TensorSpec) -> Array:
    try:
        return array_from_json(values, spec)
    except InvalidTensor as error:
        raise _locate(values, spec, error) from None


def _locate(values: list[Any], spec: TensorSpec, error: InvalidTensor) -> InvalidTensor:
    """The same error with the number of the first record that has it alone."""
    for index, value in enumerate(values):
        try:
            array_from_json([value], spec)
        except InvalidTensor as single:
            return InvalidTensor(f"Record {index}: {single.message}")
    return error


def encode(response: InferResponse, signature: Signature, request_id: str = "") -> bytes:
    """The answer: one object a record, then which version gave it; without a request id in what others may be given too.

    Numbers that JSON cannot say (NaN, infinities) are null.
    """
    answer: dict[str, Any] = {
        "predictions": predictions(response.outputs, signature),
        "model": response.model,
        "version": response.version,
    }
    if request_id:
        answer["request_id"] = request_id
    return orjson.dumps(answer)


def predictions(outputs: Mapping[str, Array], signature: Signature) -> list[dict[str, Any]]:
    """Outputs as one object a record.

    A column is a plain value; a table of as many numbers as there are classes is an object by class name. Raises InvalidTensor when
    the outputs have no common number of rows.
    """
    sizes = {array.shape[:1] for array in outputs.values()}
    if len(sizes) != 1 or sizes == {()}:
        raise InvalidTensor("The model's outputs have no common number of rows; call it over the Open Inference Protocol instead.")
    columns = [_output(array, signature.classes) for array in outputs.values()]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _output(array: Array, classes: tuple[str, ...]) -> list[Any]:
    if array.ndim == 2 and array.shape[1] == 1 and len(classes) != 1:
        array = array[:, 0]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        rows: list[Any] = orjson.loads(orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY))
    else:
        rows = rows_from_array(array)
    if classes and array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] == len(classes):
        return [dict(zip(classes, row, strict=True)) for row in rows]
    return rows


def query_record(query: str) -> tuple[str, list[tuple[str, str]]]:
    """The version that a query asks for, and its columns with their values as text.

    Raises InvalidRequest for a column that stands there twice, and for none at all.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_COLUMNS, errors="strict")
    except ValueError:
        raise InvalidRequest(f"The query must be UTF-8 with at most {MAX_QUERY_COLUMNS} parameters; send more with POST.") from None
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(f"The query has {name[:64]!r} twice; give each column once.")
    version = next((value for name, value in pairs if name == "version"), "")
    columns = [pair for pair in pairs if pair[0] != "version"]
    if not columns:
        raise InvalidRequest("The query has no columns; give one record as ?column=value&column=value, or send records with POST.")
    return version, columns


def decode_pairs(pairs: list[tuple[str, str]], signature: Signature) -> dict[str, Array]:
    """The inputs of one record whose values are text, read as cells of a CSV table are."""
    text = io.StringIO()
    csv.writer(text).writerows([[name for name, _ in pairs], [value for _, value in pairs]])
    return tensors(records_from_csv(text.getvalue().encode(), signature), signature)


def wanted_version(query: str) -> str:
    """The ``version`` of a query: a number or an alias; empty when it is not given.

    Raises InvalidRequest for any other parameter, and for a version given twice.
    """
    if not query:
        return ""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise InvalidRequest("The query has too many parameters; it may have 'version' only.") from None
    for name, _ in pairs:
        if name != "version":
            raise InvalidRequest(
                f"The query has an unknown parameter {name[:64]!r}.{did_you_mean(name, ['version'])} It may have 'version' only."
            )
    if len(pairs) > 1:
        raise InvalidRequest("The query gives 'version' more than once.")
    version = pairs[0][1] if pairs else ""
    if len(version) > 63:
        raise InvalidRequest("The query's 'version' is too long for a version number or an alias.")
    return version


def example_value(spec: TensorSpec) -> Any:
    """A value of an input's datatype and shape (without its first dimension), for documents and error messages."""
    value: Any = 1.0
    if spec.datatype is Datatype.BYTES:
        value = "text"
    elif spec.datatype is Datatype.BOOL:
        value = True
    elif not spec.datatype.is_float:
        value = 1
    if len(spec.shape) == 2 and spec.shape[1] == 1:
        return value
    for size in reversed(spec.wire_shape[1:]):
        value = [value] * min(size if size >= 0 else 2, 16)
    return value


def example_record(signature: Signature) -> dict[str, Any]:
    """A record that the model takes."""
    return {spec.name: example_value(spec) for spec in signature.inputs if not spec.optional}

"""Bodies of ``/invocations`` to tensors, and tensors to predictions.

As with MLflow's own server, columns of a data frame that the model does not take are ignored, so that a table may be sent as it is,
and the tokens NaN and Infinity are numbers both ways. Everything else is as strict as in the other protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from modelyard.core.errors import InvalidRequest, InvalidTensor, did_you_mean
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array, Datatype
from modelyard.protocols.json_tensors import array_from_json, json_from_array, parse_json, rows_from_array, shorten
from modelyard.protocols.mlflow.schemas import FORMATS, PARAMS, Frame, frame_from_records, frame_from_split
from modelyard.protocols.records.table import cell_converter, csv_lines, csv_record
from modelyard.protocols.tensorflow_rest import mapping as tensorflow

PREDICT, PROBABILITIES = "predict", "predict_proba"
FUNCTION = "pyfunc_predict_fn"
"""The one parameter: MLflow's own name for choosing between a classifier's labels and its probabilities."""


def decode_json(body: bytes, signature: Signature) -> tuple[dict[str, Array], str]:
    """The inputs in a JSON body, and which function is wanted: ``predict``, or ``predict_proba`` of a classifier.

    Raises InvalidRequest, or InvalidTensor that names the input.
    """
    document = parse_json(body)
    if type(document) is not dict:
        raise InvalidRequest(f"The body must be a JSON object with one of {', '.join(FORMATS)}, but {shorten(document)} came.")
    known = (*FORMATS, PARAMS)
    for name in document:
        if name not in known:
            raise InvalidRequest(
                f"The body has an unknown key {name[:64]!r}.{did_you_mean(name, known)} It has one of {', '.join(FORMATS)}."
            )
    given = [name for name in FORMATS if name in document]
    if len(given) != 1:
        raise InvalidRequest(f"The body must have exactly one of {', '.join(FORMATS)}, but it has {' and '.join(given) or 'none'}.")
    function = _function(document.get(PARAMS), signature)
    value = document[given[0]]
    if given[0] == "instances":
        return tensorflow.rows(value, signature), function
    if given[0] == "inputs":
        return tensorflow.columns(value, signature), function
    frame = frame_from_split(value) if given[0] == "dataframe_split" else frame_from_records(value)
    return _from_frame(frame, signature), function


def _function(params: Any, signature: Signature) -> str:
    if params is None or params == {}:
        return PREDICT
    if type(params) is not dict:
        raise InvalidRequest(f"'params' must be an object, but {shorten(params)} came.")
    if classifier(signature) is None:
        raise InvalidRequest("This model takes no 'params'; leave them out.")
    for name in params:
        if name != FUNCTION:
            raise InvalidRequest(f"The model has no parameter {name[:64]!r}.{did_you_mean(name, [FUNCTION])} It has {FUNCTION!r} only.")
    function = params[FUNCTION]
    if function not in (PREDICT, PROBABILITIES):
        raise InvalidRequest(f"The parameter {FUNCTION!r} must be {PREDICT!r} or {PROBABILITIES!r}, but {shorten(function)} came.")
    return str(function)


def decode_csv(body: bytes, signature: Signature, *, header: bool = True) -> dict[str, Array]:
    """The inputs in a CSV body with a header line, or without one: then columns are meant by their places.

    Raises InvalidData that names line and column, InvalidRequest, or InvalidTensor.
    """
    lines = csv_lines(body)
    names = [name.strip() for name in lines.pop(0)[1]] if header else None
    shown = names if names is not None else [str(place) for place in range(len(lines[0][1]))]
    if len(set(shown)) != len(shown):
        raise InvalidRequest("The CSV header has a column more than once; give each once.")
    converters = _converters(names, len(shown), signature)
    rows = [list(csv_record(shown, converters, row, number).values()) for number, row in lines]
    return _from_frame(Frame(rows, names), signature)


def _converters(names: list[str] | None, count: int, signature: Signature) -> list[Callable[[str], Any]]:
    vector = _vector(signature, names)
    if vector is not None:
        return [cell_converter(TensorSpec(name=vector.name, datatype=vector.datatype, shape=(-1,)))] * count
    if names is None:
        return [cell_converter(spec) for spec in signature.inputs[:count]] + [str] * (count - len(signature.inputs))
    specs = {spec.name: spec for spec in signature.inputs}
    return [cell_converter(specs[name]) if name in specs else str for name in names]


def _vector(signature: Signature, names: list[str] | None) -> TensorSpec | None:
    """The input that takes a whole row as one list: where it is the only one, and no column bears its name."""
    inputs = signature.inputs
    if len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].shape[1] != 1 and (names is None or inputs[0].name not in names):
        return inputs[0]
    return None


def _from_frame(frame: Frame, signature: Signature) -> dict[str, Array]:
    if not frame.rows:
        raise InvalidRequest("The data frame has no rows; give at least one.")
    vector = _vector(signature, frame.names)
    if vector is not None:
        return {vector.name: array_from_json(frame.rows, vector)}
    columns = _places(frame, signature)
    found: dict[str, Array] = {}
    for spec in signature.inputs:
        place = columns.get(spec.name)
        if place is not None:
            found[spec.name] = array_from_json(_values(frame, place, spec), spec)
        elif not spec.optional:
            hint = did_you_mean(spec.name, columns)
            raise InvalidTensor(f"The data frame lacks the column {spec.name!r}.{hint} Give null where its value is unknown.")
    return found


def _values(frame: Frame, place: int, spec: TensorSpec) -> list[Any]:
    values = [row[place] for row in frame.rows]
    if spec.datatype is Datatype.BYTES:
        # pandas has NaN for missing text too, and MLflow's clients write it.
        return [None if type(value) is float and value != value else value for value in values]  # noqa: PLR0124  # NaN alone differs from itself
    return values


def _places(frame: Frame, signature: Signature) -> dict[str, int]:
    if frame.names is not None:
        return {name: place for place, name in enumerate(frame.names)}
    names = [spec.name for spec in signature.inputs]
    if len(frame.rows[0]) != len(names):
        raise InvalidRequest(
            f"A data frame without column names must have the model's {len(names)} columns in their order, but it has "
            f"{len(frame.rows[0])}; name them, the model takes: {', '.join(names)[:400]}."
        )
    return {name: place for place, name in enumerate(names)}


def classifier(signature: Signature) -> tuple[TensorSpec, TensorSpec] | None:
    """Label and probabilities of a model that gives both and nothing else."""
    labels = [spec for spec in signature.outputs if not spec.datatype.is_float and spec.wire_shape[1:] in ([], [1]) and spec.shape]
    tables = [spec for spec in signature.outputs if spec.datatype.is_float and len(spec.shape) == 2]
    if len(labels) == len(tables) == 1 and len(signature.outputs) == 2:
        return labels[0], tables[0]
    return None


def wanted_outputs(signature: Signature, function: str) -> tuple[str, ...]:
    """Names of the outputs to compute: one of a classifier's two, otherwise all (none named)."""
    found = classifier(signature)
    if found is None:
        return ()
    return (found[1 if function == PROBABILITIES else 0].name,)


def encode(outputs: Mapping[str, Array]) -> bytes:
    """``{"predictions": [...]}``: plain values where there is one output, otherwise one object a row.

    Raises InvalidTensor when the outputs cannot be split into rows.
    """
    sizes = {array.shape[:1] for array in outputs.values()}
    if len(sizes) != 1 or sizes == {()}:
        raise InvalidTensor("The model's outputs have no common number of rows; call it over the Open Inference Protocol instead.")
    columns = [_column(array) for array in outputs.values()]
    if len(columns) == 1:
        return orjson.dumps({"predictions": json_from_array(columns[0])})
    rows = zip(*[rows_from_array(array) for array in columns], strict=True)
    return orjson.dumps({"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]})


def _column(array: Array) -> Array:
    """Without the last dimension where that has one element, as scikit-learn and pandas give columns."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else np.ascontiguousarray(array)


def media_type(content_type: bytes | None) -> tuple[str, bool, str]:
    """The type of a body, whether CSV has a header line, and what is wrong: nothing, or a sentence. Without a type it is JSON."""
    kind, *parameters = (content_type or b"application/json").decode("latin-1").split(";")
    kind, header = kind.strip().lower(), True
    if kind not in ("application/json", "text/csv"):
        return kind, header, f"A body of type {kind[:64]!r} is not read; send application/json or text/csv."
    for parameter in parameters:
        name, _, value = (part.strip().lower() for part in parameter.partition("="))
        value = value.strip('"')
        if kind == "text/csv" and name == "header" and value in ("present", "absent"):
            header = value == "present"
        elif name and (name != "charset" or value not in ("utf-8", "utf8", "us-ascii")):
            return kind, header, f"The content type's parameter {parameter.strip()[:64]!r} is not supported; bodies are read as UTF-8."
    return kind, header, ""

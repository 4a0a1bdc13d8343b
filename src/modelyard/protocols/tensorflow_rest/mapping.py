"""Bodies of ``:predict``, ``:classify`` and ``:regress`` to tensors, and tensors to answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from modelyard.core.errors import InvalidRequest, InvalidTensor, did_you_mean
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array
from modelyard.protocols.json_tensors import array_from_json, is_base64, json_from_array, parse_json, rows_from_array, shorten
from modelyard.protocols.tensorflow_rest.schemas import DEFAULT_SIGNATURE

_SCORES = ("probabilities", "scores", "probability", "output_probability")
"""Names under which outputs are class scores even when the model names no classes."""


def decode_predict(body: bytes, signature: Signature) -> tuple[dict[str, Array], bool]:
    """The inputs of a ``:predict`` body, and whether it was columnar (``inputs``) rather than rows (``instances``).

    Raises InvalidRequest, or InvalidTensor that names the input.
    """
    document = _document(body)
    if ("instances" in document) == ("inputs" in document):
        raise InvalidRequest("A predict body has either 'instances' (a list of rows) or 'inputs' (whole tensors), and not both.")
    if "inputs" in document:
        return columns(document["inputs"], signature), True
    return rows(document["instances"], signature), False


def _document(body: bytes) -> dict[str, Any]:
    document = parse_json(body)
    if type(document) is not dict:
        raise InvalidRequest(f"The body must be a JSON object, but {shorten(document)} came.")
    name = document.get("signature_name", "")
    if type(name) is not str:
        raise InvalidRequest("'signature_name' must be a string.")
    if name not in ("", DEFAULT_SIGNATURE):
        raise InvalidRequest(
            f"There is no serving signature {name[:64]!r}; every model here has one only, {DEFAULT_SIGNATURE!r}, the default."
        )
    return document


def _only_input(signature: Signature, where: str) -> TensorSpec:
    required = [spec for spec in signature.inputs if not spec.optional]
    candidates = required or list(signature.inputs)
    if len(candidates) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidRequest(f"{where} must name the inputs in an object, because the model takes {len(candidates)} of them: {names}.")
    return candidates[0]


def columns(value: Any, signature: Signature) -> dict[str, Array]:
    """Whole tensors by input name; a bare value where the model takes one input.

    Raises InvalidRequest or InvalidTensor.
    """
    if type(value) is not dict or is_base64(value):
        spec = _only_input(signature, "'inputs'")
        return {spec.name: array_from_json(value, spec)}
    return {name: array_from_json(item, signature.input(name)) for name, item in value.items()}


def rows(instances: Any, signature: Signature) -> dict[str, Array]:
    """A list of rows, each an object by input name, or a bare value where the model takes one input.

    Raises InvalidRequest or InvalidTensor.
    """
    if type(instances) is not list:
        raise InvalidRequest(f"'instances' must be a list with one element a row, but {shorten(instances)} came.")
    if not instances:
        raise InvalidRequest("'instances' is empty; give at least one row.")
    if type(instances[0]) is not dict or is_base64(instances[0]):
        spec = _only_input(signature, "Each of 'instances'")
        if any(type(row) is dict and not is_base64(row) for row in instances):
            raise InvalidRequest("'instances' mixes plain values and objects; give all rows in the same form.")
        return {spec.name: array_from_json(instances, spec)}
    return {name: array_from_json(column, signature.input(name)) for name, column in _transpose(instances, "instances").items()}


def _transpose(rows: list[Any], where: str) -> dict[str, list[Any]]:
    """Rows as columns. All rows must have the same keys."""
    first = rows[0]
    for index, row in enumerate(rows):
        if type(row) is not dict:
            raise InvalidRequest(f"Element {index} of {where!r} must be an object like the first one, but {shorten(row)} came.")
        if row.keys() != first.keys():
            odd = sorted(row.keys() ^ first.keys())[0]
            raise InvalidRequest(f"Element {index} of {where!r} and the first one differ in {odd!r}; all must have the same names.")
    return {name: [row[name] for row in rows] for name in first}


def decode_examples(body: bytes, signature: Signature) -> dict[str, Array]:
    """The inputs of a ``:classify`` or ``:regress`` body: ``examples``, each completed by ``context``.

    As in a tf.Example, a value and a list of one value are the same feature. Raises InvalidRequest or InvalidTensor.
    """
    document = _document(body)
    return example_columns(document.get("examples"), document.get("context", {}), signature)


def example_columns(examples: Any, context: Any, signature: Signature) -> dict[str, Array]:
    """Inputs from examples, each an object of features, completed by the features that all share."""
    if type(examples) is not list or not examples:
        raise InvalidRequest("The body needs 'examples', a list of at least one object that maps feature names to values.")
    if type(context) is not dict:
        raise InvalidRequest("'context' must be an object of the features that all examples share.")
    columns = _transpose(examples, "examples")
    twice = sorted(columns.keys() & context.keys())
    if twice:
        raise InvalidRequest(f"Feature {twice[0]!r} stands in 'context' and in 'examples'; give it in one of them.")
    columns |= {name: [value] * len(examples) for name, value in context.items()}
    known = [spec.name for spec in signature.inputs]
    for name in columns:
        if name not in known:
            raise InvalidTensor(f"The model has no feature {name[:64]!r}.{did_you_mean(name, known)} Its features: {', '.join(known)}.")
    return {name: _feature(column, signature.input(name)) for name, column in columns.items()}


def _feature(column: list[Any], spec: TensorSpec) -> Array:
    if len(spec.shape) < 2:
        column = [value[0] if type(value) is list and len(value) == 1 else value for value in column]
    else:
        column = [value if type(value) is list else [value] for value in column]
    return array_from_json(column, spec)


def encode_predict(outputs: Mapping[str, Array], *, columnar: bool) -> bytes:
    """The answer to ``:predict``; the name is left out when there is one output.

    Raises InvalidTensor when the outputs cannot be split into rows.
    """
    if columnar:
        tensors = {name: json_from_array(array, as_base64=_is_bytes(name)) for name, array in outputs.items()}
        return orjson.dumps({"outputs": tensors if len(tensors) != 1 else next(iter(tensors.values()))})
    sizes = {array.shape[:1] for array in outputs.values()}
    if len(sizes) != 1 or sizes == {()}:
        raise InvalidTensor(
            "The model's outputs have no common number of rows, so they cannot be given as 'predictions'; send 'inputs' instead."
        )
    if len(outputs) == 1:
        name, array = next(iter(outputs.items()))
        return orjson.dumps({"predictions": json_from_array(array, as_base64=_is_bytes(name))})
    columns = [rows_from_array(array, as_base64=_is_bytes(name)) for name, array in outputs.items()]
    return orjson.dumps({"predictions": [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]})


def _is_bytes(name: str) -> bool:
    """TensorFlow's types do not tell bytes from text: by convention the name does."""
    return name.endswith("_bytes")


def scores_output(signature: Signature) -> TensorSpec:
    """The output that holds a score for each class.

    Raises InvalidRequest for a model that is no classifier with scores.
    """
    tables = [spec for spec in signature.outputs if spec.datatype.is_float and len(spec.shape) == 2]
    for wanted in _SCORES:
        for spec in tables:
            if spec.name == wanted:
                return spec
    if signature.classes:
        fitting = [spec for spec in tables if spec.wire_shape[1] in (-1, len(signature.classes))]
        if len(fitting) == 1:
            return fitting[0]
    raise InvalidRequest("This model cannot classify: none of its outputs is a table of class probabilities. Call :predict instead.")


def regression_output(signature: Signature) -> TensorSpec:
    """The output that holds one number a row.

    Raises InvalidRequest for a model that has none, or several.
    """
    fitting = [spec for spec in signature.outputs if spec.datatype.is_float and spec.wire_shape[1:] in ([], [1]) and spec.shape]
    if len(fitting) != 1:
        found = "none" if not fitting else "more than one"
        raise InvalidRequest(f"This model cannot regress: {found} of its outputs is a single number for each row. Call :predict instead.")
    return fitting[0]


def encode_classification(scores: Array, classes: tuple[str, ...]) -> bytes:
    """The answer to ``:classify``: pairs of label and score for each example; labels are empty when the model names none."""
    labels = classes if len(classes) == scores.shape[1] else ("",) * scores.shape[1]
    rows = (
        rows_from_array(scores) if np.isfinite(scores).all() else [[json_from_array(np.asarray(value)) for value in row] for row in scores]
    )
    return _result([list(zip(labels, row, strict=True)) for row in rows])


def encode_regression(values: Array) -> bytes:
    """The answer to ``:regress``: one number for each example."""
    return _result(json_from_array(values.reshape(-1)))


def _result(value: Any) -> bytes:
    # The documentation calls the key "result", the server itself writes "results": clients of both kinds exist.
    text = orjson.dumps(value)
    return b'{"results":' + text + b',"result":' + text + b"}"

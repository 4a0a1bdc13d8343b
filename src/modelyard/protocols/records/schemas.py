"""What a deployment says of itself, and its OpenAPI 3.1 document, both made from the signature."""

from __future__ import annotations

from typing import Any

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.records.mapping import VALUES, example_record, example_value

_BITS = {
    Datatype.UINT8: (0, 2**8 - 1),
    Datatype.UINT16: (0, 2**16 - 1),
    Datatype.UINT32: (0, 2**32 - 1),
    Datatype.UINT64: (0, 2**64 - 1),
    Datatype.INT8: (-(2**7), 2**7 - 1),
    Datatype.INT16: (-(2**15), 2**15 - 1),
    Datatype.INT32: (-(2**31), 2**31 - 1),
    Datatype.INT64: (-(2**63), 2**63 - 1),
}
_ERRORS = {
    "400": "The request is wrong; the message says what to mend.",
    "401": "The key is missing, unknown, expired or revoked.",
    "403": "The key does not have the right to call this deployment.",
    "404": "There is no such deployment, version or prediction.",
    "413": "The body is too large.",
    "429": "A limit refuses the call; `retry-after` says when to try again.",
    "503": "The deployment cannot answer now; `retry-after` says when to try again.",
}


def describe(spec: TensorSpec) -> dict[str, Any]:
    """An input or output for people and programs."""
    said: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype.value, "shape": spec.wire_shape}
    if spec.description:
        said["description"] = spec.description
    if spec.optional:
        said["optional"] = True
    return said


def openapi(name: str, model: str, number: int, signature: Signature) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a deployment, typed by the signature of the version that answers."""
    base = f"/v1/deployments/{name}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": str(number),
            "description": f"Predictions of {model}@{number}. One object a record in, one object a record out.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "paths": {
            f"{base}/predict": {"post": _predict(signature)},
            f"{base}/predictions": {"post": _submit(signature)},
            f"{base}/predictions/{{id}}": {"get": _fetch(), "delete": _forget(), "parameters": [_ID]},
        },
        "components": {
            "schemas": _schemas(signature),
            "responses": {f"Error{status}": _error(text) for status, text in _ERRORS.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_VERSION = {
    "name": "version",
    "in": "query",
    "required": False,
    "description": "A version number or alias; without it the deployment chooses.",
    "schema": {"type": "string"},
}


def _reference(kind: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind}"}


def _json(kind: str) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(kind)}}


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": _json("Error")}


def _failures(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


def _predict(signature: Signature) -> dict[str, Any]:
    content: dict[str, Any] = {
        "application/json": {"schema": _reference("PredictRequest"), "example": {"records": [example_record(signature)]}}
    }
    content["text/csv"] = {
        "schema": {"type": "string", "description": "A header line with the names of the columns, then one record a line."}
    }
    return {
        "operationId": "predict",
        "summary": "Predict records at once",
        "parameters": [_VERSION],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "One prediction for each record, in order.", "content": _json("PredictResponse")},
            **_failures("400", "401", "403", "404", "413", "429", "503"),
        },
    }


def _submit(signature: Signature) -> dict[str, Any]:
    example = {"records": [example_record(signature)]}
    return {
        "operationId": "submitPrediction",
        "summary": "Store records and predict them later",
        "parameters": [_VERSION],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _reference("SubmitRequest"), "example": example}}},
        "responses": {
            "202": {"description": "The request is stored and will be answered.", "content": _json("StoredPrediction")},
            **_failures("400", "401", "403", "404", "413", "429", "503"),
        },
    }


def _fetch() -> dict[str, Any]:
    return {
        "operationId": "fetchPrediction",
        "summary": "How far a stored prediction is, and its result",
        "responses": {
            "200": {"description": "The stored prediction.", "content": _json("StoredPrediction")},
            **_failures("401", "403", "404"),
        },
    }


def _forget() -> dict[str, Any]:
    return {
        "operationId": "forgetPrediction",
        "summary": "Cancel a stored prediction, or delete its result",
        "responses": {"204": {"description": "It is forgotten."}, **_failures("401", "403", "404")},
    }


def _schemas(signature: Signature) -> dict[str, Any]:
    records = {"type": "array", "minItems": 1, "items": _reference("Record")}
    version = {"model": {"type": "string"}, "version": {"type": "integer"}, "request_id": {"type": "string"}}
    predictions = {"type": "array", "items": _reference("Prediction")}
    return {
        "Record": _record(signature),
        "Prediction": _prediction(signature),
        "PredictRequest": {
            "type": "object",
            "properties": {"records": records, "record": _reference("Record")},
            "oneOf": [{"required": ["records"]}, {"required": ["record"]}],
            "additionalProperties": False,
        },
        "PredictResponse": {
            "type": "object",
            "required": ["predictions", "model", "version", "request_id"],
            "properties": {"predictions": predictions, **version},
        },
        "Webhook": {
            "type": "object",
            "required": ["url"],
            "properties": {
                "url": {"type": "string", "format": "uri", "description": "Called with the result, signed as Standard Webhooks say."}
            },
            "additionalProperties": False,
        },
        "SubmitRequest": {
            "type": "object",
            "properties": {"records": records, "record": _reference("Record"), "webhook": _reference("Webhook")},
            "oneOf": [{"required": ["records"]}, {"required": ["record"]}],
            "additionalProperties": False,
        },
        "StoredPrediction": {
            "type": "object",
            "required": ["id", "status", "url"],
            "properties": {
                "id": {"type": "string"},
                "status": {"type": "string", "enum": ["queued", "succeeded", "failed"]},
                "url": {"type": "string"},
                "result": _reference("PredictResponse"),
                "error": _reference("Fault"),
            },
        },
        "Fault": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "retry_after": {"type": "number"}},
        },
        "Error": {"type": "object", "required": ["error"], "properties": {"error": _reference("Fault")}},
    }


def _record(signature: Signature) -> dict[str, Any]:
    properties = {spec.name: _with_example(_value(spec), spec) for spec in signature.inputs}
    required = [spec.name for spec in signature.inputs if not spec.optional]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if len(properties) == 1 and VALUES not in properties:
        spec = signature.inputs[0]
        schema["properties"] = {**properties, VALUES: _value(spec)}
        schema["description"] = f"{VALUES!r} is another name for {spec.name!r}."
        if required:
            schema["oneOf"] = [{"required": [spec.name]}, {"required": [VALUES]}]
    elif required:
        schema["required"] = required
    return schema


def _with_example(schema: dict[str, Any], spec: TensorSpec) -> dict[str, Any]:
    schema["examples"] = [example_value(spec)]
    if spec.description:
        schema["description"] = spec.description
    return schema


def _scalar(spec: TensorSpec) -> dict[str, Any]:
    if spec.datatype.is_float:
        return {"type": ["number", "null"]}
    if spec.datatype is Datatype.BYTES:
        return {"type": ["string", "null"]}
    if spec.datatype is Datatype.BOOL:
        return {"type": "boolean"}
    low, high = _BITS[spec.datatype]
    return {"type": "integer", "minimum": low, "maximum": high}


def _value(spec: TensorSpec) -> dict[str, Any]:
    """A record's part of a tensor: a plain value for a column, otherwise nested lists."""
    schema = _scalar(spec)
    inner = spec.wire_shape[1:]
    if inner == [1]:
        return schema
    for size in reversed(inner):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _prediction(signature: Signature) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [spec.name for spec in signature.outputs],
        "properties": {spec.name: _output(spec, signature.classes) for spec in signature.outputs},
    }


def _output(spec: TensorSpec, classes: tuple[str, ...]) -> dict[str, Any]:
    if classes and spec.datatype.is_float and len(spec.shape) == 2 and spec.wire_shape[1] in (-1, len(classes)):
        number = {"type": ["number", "null"]}
        return {"type": "object", "properties": dict.fromkeys(classes, number), "required": list(classes)}
    schema = _value(spec)
    if spec.name == "label" and classes and spec.datatype is Datatype.BYTES:
        schema = {"type": "string", "enum": list(classes)}
    return schema

"""Bodies of Vertex AI predictions to tensors: ``{"instances": [...]}``, one element a row."""

from __future__ import annotations

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array
from modelyard.protocols.json_tensors import parse_json, shorten
from modelyard.protocols.tensorflow_rest import mapping as tensorflow

_KEYS = ("instances", "parameters")


def decode(body: bytes, signature: Signature) -> dict[str, Array]:
    """The inputs of a body. Raises InvalidRequest, or InvalidTensor that names the input."""
    document = parse_json(body)
    if type(document) is not dict or "instances" not in document:
        raise InvalidRequest(
            f"The body must be a JSON object with 'instances', a list with one element a row, but {shorten(document)} came."
        )
    for name in document:
        if name not in _KEYS:
            raise InvalidRequest(
                f"The body has an unknown key {name[:64]!r}.{did_you_mean(name, _KEYS)} It may have {' and '.join(_KEYS)}."
            )
    if document.get("parameters") not in (None, {}):
        raise InvalidRequest("This model takes no 'parameters'; leave them out.")
    return tensorflow.rows(document["instances"], signature)

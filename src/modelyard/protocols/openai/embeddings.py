"""``POST /v1/embeddings`` over any deployment that turns texts into vectors."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

import numpy as np
import orjson

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.signature import Signature
from modelyard.core.tensors import Datatype
from modelyard.protocols.call import Call
from modelyard.protocols.json_tensors import json_from_array
from modelyard.protocols.openai.errors import JSON
from modelyard.protocols.openai.schemas import EmbeddingRequest, read
from modelyard.protocols.routing import Reply

TOKENS = "tokens"


def embeddings(call: Call) -> None:
    """``POST /v1/embeddings``."""
    asked = read(call, EmbeddingRequest)
    if asked.encoding_format not in {"float", "base64"}:
        raise InvalidRequest(f"There is no encoding_format {asked.encoding_format!r}; use float or base64.")
    version = call.params.get("version", "")
    view = call.choose(version)
    text, vector = embedding_tensors(view.signature, call.name)
    rows = texts_of(asked.input)
    inputs = np.empty(len(rows), dtype=object)
    inputs[:] = rows
    call.infer(InferRequest({text: inputs}, version=version or view.pin), partial(_encode, call, asked, vector))


def embedding_tensors(signature: Signature, name: str) -> tuple[str, str]:
    """The names of a deployment's text input and vector output; raises Unsupported when it embeds no texts."""
    inputs = [spec.name for spec in signature.inputs if spec.datatype is Datatype.BYTES and not spec.optional]
    vectors = [spec.name for spec in signature.outputs if spec.datatype is Datatype.FP32 and len(spec.shape) == 2]
    named = [found for found in vectors if found == "embedding"] or vectors
    required = [spec for spec in signature.inputs if not spec.optional]
    if len(inputs) != 1 or len(required) != 1 or len(named) != 1:
        raise Unsupported(f"Deployment {name!r} does not turn texts into vectors; call it with its inputs.")
    return inputs[0], named[0]


def texts_of(given: Any) -> list[str]:
    """Texts of a request, one or many; raises InvalidRequest for none, Unsupported for token ids."""
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise InvalidRequest("There is no input; send at least one text.")
    if not all(isinstance(text, str) for text in texts):
        raise Unsupported("Token ids cannot be embedded, because each model has its own; send the text.")
    return list(texts)


def _encode(call: Call, asked: EmbeddingRequest, vector: str, response: InferResponse) -> Reply:
    vectors = np.ascontiguousarray(response.outputs[vector], dtype="<f4")
    if asked.dimensions is not None:
        if not 1 <= asked.dimensions <= vectors.shape[1]:
            raise InvalidRequest(f"dimensions is {asked.dimensions}; this model's vectors have {vectors.shape[1]}.")
        # A prefix of a vector is one again once it has length 1.
        vectors = vectors[:, : asked.dimensions]
        vectors = np.ascontiguousarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype="<f4")
    tokens = response.outputs.get(TOKENS)
    count = int(tokens.sum()) if tokens is not None else 0
    call.cost.tokens_in = count
    listed = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row.tobytes()).decode() if asked.encoding_format == "base64" else json_from_array(row),
        }
        for index, row in enumerate(vectors)
    ]
    used = {"prompt_tokens": count, "total_tokens": count}
    return 200, JSON, orjson.dumps({"object": "list", "data": listed, "model": asked.model or call.name, "usage": used})

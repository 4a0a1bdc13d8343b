"""``POST /v1/embeddings`` over any deployment that turns texts into vectors."""

from __future__ import annotations

import base64
from functools import partial

import numpy as np
import orjson

from modelyard.core.errors import InvalidRequest
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.protocols.call import Call
from modelyard.protocols.json_tensors import json_from_array
from modelyard.protocols.openai.errors import JSON
from modelyard.protocols.openai.schemas import EmbeddingRequest, read
from modelyard.protocols.routing import Reply
from modelyard.protocols.texts import column, count_tokens, embedding_tensors, shortened, texts_of


def embeddings(call: Call) -> None:
    """``POST /v1/embeddings``."""
    asked = read(call, EmbeddingRequest)
    if asked.encoding_format not in {None, "float", "base64"}:
        raise InvalidRequest(f"There is no encoding_format {asked.encoding_format!r}; use float or base64.")
    version = call.params.get("version", "")
    view = call.choose(version)
    text, vector = embedding_tensors(view.signature, call.name)
    inputs = {text: column(texts_of(asked.input))}
    call.infer(InferRequest(inputs, version=version or view.pin), partial(_encode, call, asked, vector))


def _encode(call: Call, asked: EmbeddingRequest, vector: str, response: InferResponse) -> Reply:
    vectors = shortened(np.ascontiguousarray(response.outputs[vector], dtype="<f4"), asked.dimensions)
    count = count_tokens(call, response)
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

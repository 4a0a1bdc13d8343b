"""From texts to tensors and from vectors to answers: what protocols over text models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.inference import InferResponse
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array, Datatype
from modelyard.protocols.call import Call

TOKENS = "tokens"
_TINY = 1e-12


def embedding_tensors(signature: Signature, name: str) -> tuple[str, str]:
    """The names of a deployment's text input and vector output; raises Unsupported when it embeds no texts."""
    inputs = [spec.name for spec in signature.inputs if spec.datatype is Datatype.BYTES and not spec.optional]
    vectors = [spec.name for spec in signature.outputs if spec.datatype is Datatype.FP32 and len(spec.shape) == 2]
    named = [found for found in vectors if found == "embedding"] or vectors
    required = [spec for spec in signature.inputs if not spec.optional]
    # What a classifier gives for a text is two-dimensional too, but no vector of it.
    if signature.classes or len(inputs) != 1 or len(required) != 1 or len(named) != 1:
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


def column(texts: Sequence[str]) -> Array:
    """Texts as a tensor, one a row."""
    found = np.empty(len(texts), dtype=object)
    found[:] = texts
    return found


def of_length_one(vectors: Array) -> Array:
    """Vectors scaled to length 1; those of nothing but zeros stay so."""
    return np.ascontiguousarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY), dtype="<f4")


def shortened(vectors: Array, dimensions: int | None) -> Array:
    """The first ``dimensions`` numbers of each vector; raises InvalidRequest where there are not so many."""
    if dimensions is None:
        return vectors
    if not 1 <= dimensions <= vectors.shape[1]:
        raise InvalidRequest(f"dimensions is {dimensions}; this model's vectors have {vectors.shape[1]}.")
    # A prefix of a vector is one again once it has length 1.
    return of_length_one(vectors[:, :dimensions])


def count_tokens(call: Call, response: InferResponse) -> int:
    """Tokens that the model read, which the call is charged for; 0 where it does not tell them."""
    tokens = response.outputs.get(TOKENS)
    call.cost.tokens_in = int(tokens.sum()) if tokens is not None else 0
    return call.cost.tokens_in

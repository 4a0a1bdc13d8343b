"""``/tokenize``, ``/decode`` and ``/embed_all``: what a model reads of a text, and the vector of each token."""

from __future__ import annotations

from functools import partial

import orjson

from modelyard.core.errors import Unsupported
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.protocols.call import Call
from modelyard.protocols.json_tensors import json_from_array
from modelyard.protocols.openai.schemas import read
from modelyard.protocols.routing import Reply
from modelyard.protocols.text_embeddings.errors import JSON
from modelyard.protocols.text_embeddings.schemas import DecodeRequest, EmbedAllRequest, TokenizeRequest
from modelyard.protocols.texts import column, texts_of


def tokenize(call: Call) -> None:
    """``POST /tokenize``: the tokens of each text, cut off nowhere."""
    asked = read(call, TokenizeRequest)
    asked.check()
    wanted = "token_list" if asked.add_special_tokens else "bare_tokens"
    call.infer(_request(call, texts_of(asked.inputs), wanted), partial(_listed, wanted))


def _listed(wanted: str, response: InferResponse) -> Reply:
    return 200, JSON, b"[" + b",".join(_bytes(row) for row in response.outputs[wanted]) + b"]"


def decode(call: Call) -> None:
    """``POST /decode``: the text of token ids."""
    asked = read(call, DecodeRequest)
    wanted = "decoded" if asked.skip_special_tokens else "decoded_whole"
    rows = [orjson.dumps(row).decode() for row in asked.rows()]
    call.infer(_request(call, rows, wanted), partial(_decoded, wanted))


def _decoded(wanted: str, response: InferResponse) -> Reply:
    return 200, JSON, orjson.dumps([_bytes(row).decode() for row in response.outputs[wanted]])


def embed_all(call: Call) -> None:
    """``POST /embed_all``: a vector for each token of each text."""
    asked = read(call, EmbedAllRequest)
    asked.check()
    call.infer(_request(call, texts_of(asked.inputs), "token_vectors", "token_count"), partial(_vectors, call))


def _vectors(call: Call, response: InferResponse) -> Reply:
    counts = response.outputs["token_count"].tolist()
    call.cost.tokens_in = sum(counts)
    rows = [json_from_array(vectors[:count]) for vectors, count in zip(response.outputs["token_vectors"], counts, strict=True)]
    return 200, [*JSON, (b"x-compute-tokens", b"%d" % call.cost.tokens_in)], orjson.dumps(rows)


def _request(call: Call, rows: list[str], *wanted: str) -> InferRequest:
    """Raises Unsupported for a deployment that reads no texts."""
    view = call.choose()
    names = [spec.name for spec in view.signature.inputs]
    if "text" not in names or not view.signature.extras:
        raise Unsupported(f"Deployment {call.name!r} does not tell of tokens; deploy a text model, or push it again where it is one.")
    others = {name: column([""] * len(rows)) for name in names if name != "text"}
    return InferRequest(others | {"text": column(rows)}, extras=wanted, version=view.pin)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()

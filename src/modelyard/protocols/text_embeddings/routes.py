"""Routes of the protocol, for the deployment that the key is scoped to, and under ``/deployments/{name}`` for any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import orjson

from modelyard import __version__
from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array, Datatype
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.json_tensors import json_from_array
from modelyard.protocols.mlflow.routes import in_scope
from modelyard.protocols.openai.schemas import read
from modelyard.protocols.routing import Protocol, Reply, Route
from modelyard.protocols.text_embeddings.errors import JSON, error_reply
from modelyard.protocols.text_embeddings.schemas import EmbedRequest, PredictRequest, RerankRequest, SimilarityRequest, without_raw_scores
from modelyard.protocols.text_embeddings.tokens import decode, embed_all, tokenize
from modelyard.protocols.texts import column, count_tokens, embedding_tensors, of_length_one, shortened, texts_of


def embed(call: Call) -> None:
    """``POST /embed``: a vector for each text."""
    asked = read(call, EmbedRequest)
    asked.check()
    if asked.encoding_format not in {None, "float"}:
        raise Unsupported(f"encoding_format {asked.encoding_format!r} is not supported; use float.")
    view = call.choose()
    text, vector = embedding_tensors(view.signature, call.name)
    request = InferRequest({text: column(texts_of(asked.inputs))}, version=view.pin)
    call.infer(request, partial(_embedded, call, asked, vector))


def _embedded(call: Call, asked: EmbedRequest, vector: str, response: InferResponse) -> Reply:
    vectors = shortened(response.outputs[vector], asked.dimensions)
    if asked.normalize is not False:
        vectors = of_length_one(vectors)
    return _reply(call, response, json_from_array(vectors))


def similarity(call: Call) -> None:
    """``POST /similarity``: the cosine of one sentence's vector with each other one's."""
    asked = read(call, SimilarityRequest)
    if asked.parameters is not None:
        asked.parameters.check()
    if not asked.inputs.sentences:
        raise InvalidRequest("There are no sentences to compare with; send at least one.")
    view = call.choose()
    text, vector = embedding_tensors(view.signature, call.name)
    rows = column([asked.inputs.source_sentence, *asked.inputs.sentences])
    call.infer(InferRequest({text: rows}, version=view.pin), partial(_compared, call, vector))


def _compared(call: Call, vector: str, response: InferResponse) -> Reply:
    vectors = of_length_one(response.outputs[vector])
    return _reply(call, response, json_from_array(vectors[1:] @ vectors[0]))


def rerank(call: Call) -> None:
    """``POST /rerank``: texts by how well they answer the query, the best first."""
    asked = read(call, RerankRequest)
    asked.check()
    without_raw_scores(asked)
    if not asked.texts:
        raise InvalidRequest("There are no texts to rank; send at least one.")
    view = call.choose()
    if not _has(view.signature, inputs={"query", "text"}, output="score"):
        raise Unsupported(f"Deployment {call.name!r} does not rank texts by a query; deploy a reranker, or call this one with its inputs.")
    inputs = {"query": column([asked.query] * len(asked.texts)), "text": column(asked.texts)}
    call.infer(InferRequest(inputs, version=view.pin), partial(_ranked, call, asked))


def _ranked(call: Call, asked: RerankRequest, response: InferResponse) -> Reply:
    scores = response.outputs["score"].ravel()
    order = np.argsort(np.negative(scores), kind="stable").tolist()
    listed = [
        {"index": at, **({"text": asked.texts[at]} if asked.return_text else {}), "score": json_from_array(scores[at : at + 1].reshape(()))}
        for at in order
    ]
    return _reply(call, response, listed)


def predict(call: Call) -> None:
    """``POST /predict``: every label of a text with its probability, the likeliest first."""
    asked = read(call, PredictRequest)
    asked.check()
    without_raw_scores(asked)
    texts = asked.texts()
    view = call.choose()
    if not _has(view.signature, inputs={"text"}, output="probabilities") or not view.signature.classes:
        raise Unsupported(f"Deployment {call.name!r} does not classify texts; deploy a text classifier, or call this one with its inputs.")
    request = InferRequest({"text": column(texts)}, version=view.pin)
    call.infer(request, partial(_predicted, call, asked))


def _predicted(call: Call, asked: PredictRequest, response: InferResponse) -> Reply:
    rows = list(_labelled(response.outputs["probabilities"], [str(label) for label in response.signature.classes]))
    return _reply(call, response, rows if asked.batch else rows[0])


def _labelled(probabilities: Array, labels: list[str]) -> Iterator[list[dict[str, object]]]:
    for row in probabilities:
        order = np.argsort(np.negative(row), kind="stable").tolist()
        yield [{"score": json_from_array(row[at : at + 1].reshape(())), "label": labels[at]} for at in order]


def info(call: Call) -> None:
    """``GET /info``: what the deployment's model does with texts."""
    view = call.choose()
    labels = [str(label) for label in view.signature.classes]
    if _has(view.signature, inputs={"query", "text"}, output="score"):
        kind: dict[str, object] = {"reranker": _labels(labels or ["LABEL_0"])}
    elif _has(view.signature, inputs={"text"}, output="probabilities") and labels:
        kind = {"classifier": _labels(labels)}
    else:
        embedding_tensors(view.signature, call.name)  # refuses what is no text model
        kind = {"embedding": {}}
    told = {
        "model_id": call.name,
        "model_sha": None,
        "model_dtype": "float32",
        "model_version": view.number,
        "model_type": kind,
        "auto_truncate": True,
        "version": __version__,
    }
    call.reply(200, JSON, orjson.dumps(told))


def _labels(labels: list[str]) -> dict[str, dict[str, object]]:
    return {"id2label": {str(at): label for at, label in enumerate(labels)}, "label2id": {label: at for at, label in enumerate(labels)}}


def _has(signature: Signature, *, inputs: set[str], output: str) -> bool:
    """Whether a version takes these texts and gives this output."""
    required = [spec for spec in signature.inputs if not spec.optional]
    texts = {spec.name for spec in required if spec.datatype is Datatype.BYTES}
    return texts == inputs and len(required) == len(inputs) and output in {spec.name for spec in signature.outputs}


def _reply(call: Call, response: InferResponse, answer: object) -> Reply:
    tokens = count_tokens(call, response)
    return 200, [*JSON, (b"x-compute-tokens", b"%d" % tokens)], orjson.dumps(answer)


def _told(path: str, run: Callable[[Call], None]) -> tuple[Route, Route]:
    named = Route("GET", f"/deployments/{{name}}{path}", Action.INFER, run, CallKind.METADATA, names_deployment=True)
    return Route("GET", path, Action.INFER, run, CallKind.METADATA, names_deployment=True, locate=in_scope), named


def _routes(path: str, run: Callable[[Call], None], kind: CallKind) -> tuple[Route, Route]:
    named = Route("POST", f"/deployments/{{name}}{path}", Action.INFER, run, kind, names_deployment=True)
    return Route("POST", path, Action.INFER, run, kind, names_deployment=True, locate=in_scope), named


PROTOCOL = Protocol(
    "text-embeddings",
    ProtocolId.TEXT_EMBEDDINGS,
    (
        *_routes("/embed", embed, CallKind.EMBED),
        *_routes("/similarity", similarity, CallKind.EMBED),
        *_routes("/rerank", rerank, CallKind.INFER),
        *_routes("/predict", predict, CallKind.INFER),
        *_routes("/embed_all", embed_all, CallKind.EMBED),
        # The same path by itself is also what vLLM's users call; the protocol that has it hands our form of it over.
        _routes("/tokenize", tokenize, CallKind.METADATA)[1],
        *_routes("/decode", decode, CallKind.METADATA),
        *_told("/info", info),
    ),
    error_reply,
)

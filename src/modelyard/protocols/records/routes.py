"""Routes of the records protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from modelyard.core.access import Action
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.records import mapping, schemas
from modelyard.protocols.records.caching import headers, is_known, validator
from modelyard.protocols.records.errors import JSON, error_reply
from modelyard.protocols.routing import Protocol, Reply, Route

if TYPE_CHECKING:
    from modelyard.serving.dataplane import ServedView


def predict(call: Call) -> None:
    """``POST /v1/deployments/{name}/predict``."""
    version = mapping.wanted_version(call.exchange.query)
    view = call.choose(version)
    inputs = mapping.decode(call.body, call.header(b"content-type"), view.signature)

    def encode(response: InferResponse) -> Reply:
        return 200, JSON, mapping.encode(response, response.signature, call.request_id)

    call.infer(InferRequest(inputs, version=version or view.pin), encode)


def ask(call: Call) -> None:
    """``GET /v1/deployments/{name}/predict?column=value``: one record, whose answer may be cached where the policy says so."""
    version, pairs = mapping.query_record(call.exchange.query)
    view = call.choose(version)
    caching = call.plane.caching.get((call.grant.workspace_id, call.name))
    tag = validator(view.version_id, pairs)
    more = headers(call, caching, tag)
    if caching is not None and is_known(tag, call.header(b"if-none-match")):
        call.cost.cached, call.cost.version_id = True, view.version_id
        call.reply(304, more, b"")
        return
    inputs = mapping.decode_pairs(pairs, view.signature)

    def encode(response: InferResponse) -> Reply:
        return 200, [*JSON, *more], mapping.encode(response, response.signature)

    call.infer(InferRequest(inputs, version=version or view.pin), encode)


def describe(call: Call) -> None:
    """``GET /v1/deployments/{name}``: what it takes and gives, and whether it is ready."""
    view = call.plane.served(call.grant.workspace_id, call.name)
    call.reply(200, JSON, orjson.dumps(_description(call.name, view)))


def _description(name: str, view: ServedView) -> dict[str, Any]:
    base = f"/v1/deployments/{name}"
    return {
        "name": name,
        "model": view.model,
        "version": view.number,
        "versions": sorted(view.versions, reverse=True),
        "labels": dict(view.labels),
        "ready": view.ready,
        "inputs": [schemas.describe(spec) for spec in view.signature.inputs],
        "outputs": [schemas.describe(spec) for spec in view.signature.outputs],
        "classes": list(view.signature.classes),
        "predict": f"{base}/predict",
        "openapi": f"{base}/openapi.json",
    }


def openapi(call: Call) -> None:
    """``GET /v1/deployments/{name}/openapi.json``; ``?version=`` asks for that version's document."""
    view = call.plane.served(call.grant.workspace_id, call.name, mapping.wanted_version(call.exchange.query))
    call.reply(200, JSON, orjson.dumps(schemas.openapi(call.name, view.model, view.number, view.signature)))


def listing(call: Call) -> None:
    """``GET /v1/deployments``: names that the caller's key may call."""
    names = [name for name in call.plane.names(call.grant.workspace_id) if call.grant.allows(Action.INFER, name)]
    entries = [
        {"name": name, "ready": call.plane.ready(call.grant.workspace_id, name), "url": f"/v1/deployments/{name}"} for name in sorted(names)
    ]
    call.reply(200, JSON, orjson.dumps({"deployments": entries}))


_NAMED = "/v1/deployments/{name}"
PROTOCOL = Protocol(
    "records",
    ProtocolId.RECORDS,
    (
        Route("POST", f"{_NAMED}/predict", Action.INFER, predict, CallKind.INFER, names_deployment=True),
        Route("GET", f"{_NAMED}/predict", Action.INFER, ask, CallKind.INFER, names_deployment=True),
        Route("GET", _NAMED, Action.INFER, describe, CallKind.METADATA, names_deployment=True),
        Route("GET", f"{_NAMED}/openapi.json", Action.INFER, openapi, CallKind.METADATA, names_deployment=True),
        Route("GET", "/v1/deployments", Action.INFER, listing, CallKind.METADATA),
    ),
    error_reply,
)

"""Routes of the Open Inference Protocol; the protocol's "model" is a deployment, its version the model version's number or alias."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from modelyard import __version__
from modelyard.core.access import Action
from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import InvalidRequest, Unavailable, Unsupported
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.json_tensors import parse_json
from modelyard.protocols.open_inference_rest import schemas
from modelyard.protocols.open_inference_rest.decoding import decode
from modelyard.protocols.open_inference_rest.encoding import encode
from modelyard.protocols.open_inference_rest.errors import JSON, error_reply
from modelyard.protocols.open_inference_rest.generate import generate, generate_stream
from modelyard.protocols.routing import Protocol, Route
from modelyard.serving.router import ServedView

EXTENSIONS = ("binary_tensor_data", "classification", "generate", "model_configuration", "model_repository", "parameters", "statistics")


def _document(call: Call, document: Any) -> None:
    call.reply(200, JSON, orjson.dumps(document))


def view_of(call: Call) -> ServedView:
    """The version that the parameters ``name`` and ``version`` mean; raises NotFound and Unavailable."""
    return call.plane.served(call.grant.workspace_id, call.name, call.params.get("version", ""))


def live(call: Call) -> None:
    """``GET /v2/health/live``: this process answers."""
    call.reply(200, JSON, b'{"live":true}')


def ready(call: Call) -> None:
    """``GET /v2/health/ready``: this process takes calls. Each deployment has a readiness of its own."""
    if not call.plane.accepting:
        raise Unavailable("The server is starting or stopping; try again shortly.", retry_after=1.0)
    call.reply(200, JSON, b'{"ready":true}')


def server_metadata(call: Call) -> None:
    """``GET /v2``."""
    _document(call, {"name": "modelyard", "version": __version__, "extensions": EXTENSIONS})


def infer(call: Call) -> None:
    """``POST …/infer``."""
    params = call.params
    version = params.get("version", "")
    view = call.plane.served(call.grant.workspace_id, params["name"], version)
    decoded = decode(call.body, call.exchange.headers.get(b"inference-header-content-length"), view, version)
    call.infer(decoded.request, partial(encode, params["name"], decoded))


def metadata(call: Call) -> None:
    """``GET /v2/models/{name}``."""
    _document(call, schemas.model_metadata(view_of(call)))


def model_ready(call: Call) -> None:
    """``GET …/ready``."""
    if not call.plane.ready(call.grant.workspace_id, call.name, call.params.get("version", "")):
        _, reason = call.plane.state(call.grant.workspace_id, call.name)
        raise Unavailable(f"Deployment {call.name!r} is not ready yet{': ' + reason if reason else ''}.", retry_after=1.0)
    _document(call, {"name": call.name, "ready": True})


def config(call: Call) -> None:
    """``GET …/config``."""
    _document(call, schemas.model_config(view_of(call)))


def statistics(call: Call) -> None:
    """``GET …/stats``: of one version where the path names it, else of all."""
    _document(call, statistics_document(call))


def statistics_document(call: Call) -> dict[str, Any]:
    """Statistics of what the parameters ``name`` and ``version`` mean."""
    views = [view_of(call)] if "version" in call.params else call.plane.lanes(call.grant.workspace_id, call.name)
    return {"model_stats": [schemas.model_statistics(view) for view in views]}


def all_statistics(call: Call) -> None:
    """``GET /v2/models/stats``: of every deployment that the key may call."""
    _document(call, all_statistics_document(call))


def all_statistics_document(call: Call) -> dict[str, Any]:
    """Statistics of every deployment that the key may call."""
    views = [view for name in _names(call) for view in call.plane.lanes(call.grant.workspace_id, name)]
    return {"model_stats": [schemas.model_statistics(view) for view in views]}


def _names(call: Call) -> list[str]:
    return sorted(name for name in call.plane.names(call.grant.workspace_id) if call.grant.allows(Action.INFER, name))


def index(call: Call) -> None:
    """``POST /v2/repository/index``: versions of every deployment that the key may call; ``{"ready": true}`` leaves out the others."""
    _document(call, index_entries(call, ready_only=bool(_object(call).get("ready", False))))


def index_entries(call: Call, *, ready_only: bool) -> list[dict[str, str]]:
    """Versions of every deployment that the key may call, and, unless only ready ones are wanted, deployments that have none yet."""
    entries: list[dict[str, str]] = []
    for name in _names(call):
        views = call.plane.lanes(call.grant.workspace_id, name)
        entries += [{"name": name, "version": str(view.number), "state": "READY", "reason": ""} for view in views]
        if not views and not ready_only:
            state, reason = call.plane.state(call.grant.workspace_id, name)
            entries.append({"name": name, "version": "", "state": _STATES.get(state, "UNAVAILABLE"), "reason": reason})
    return entries


_STATES = {DeploymentState.PENDING: "LOADING", DeploymentState.LOADING: "LOADING"}


def load(call: Call) -> None:
    """``POST …/load``: what is deployed is loaded already, so this only says whether it is."""
    check_load(call, with_parameters=bool(_object(call).get("parameters")))
    call.reply(200, JSON, b"{}")


def check_load(call: Call, *, with_parameters: bool) -> None:
    """Raises Unavailable while the deployment loads, Unsupported for a request to load something else."""
    if with_parameters:
        raise Unsupported("A model's configuration and files cannot be changed by loading it; push a new version with: modelyard push")
    if not call.plane.ready(call.grant.workspace_id, call.name):
        raise Unavailable(f"Deployment {call.name!r} is still loading; try again shortly.", retry_after=1.0)


def unload(call: Call) -> None:
    """``POST …/unload``: refused, because a deployment is shared by all who may call it."""
    raise Unsupported(f"Clients cannot unload a deployment; end it with: modelyard undeploy {call.name}")


def _object(call: Call) -> dict[str, Any]:
    document = parse_json(call.body) if call.body.strip() else {}
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object, or empty.")
    return document


_REFUSALS = {
    "shared memory": "Shared memory is not supported; send tensors in the body, where binary data is as quick.",
    "trace": "Trace settings cannot be changed by clients; whoever runs the server sets them.",
    "logging": "Log settings cannot be changed by clients; whoever runs the server sets MODELYARD_LOG_LEVEL.",
}


def _refuse(sentence: str, _call: Call) -> None:
    raise Unsupported(sentence)


def _refusals() -> list[Route]:
    routes: list[Route] = []
    for kind in ("system", "cuda", "xpu"):
        run = partial(_refuse, _REFUSALS["shared memory"])
        for base in (f"/v2/{kind}sharedmemory", f"/v2/{kind}sharedmemory/region/{{region}}"):
            routes.append(Route("GET", base + "/status", Action.INFER, run))
            routes += [Route("POST", f"{base}/{verb}", Action.INFER, run) for verb in ("register", "unregister")]
    for method in ("GET", "POST"):
        routes.append(Route(method, "/v2/trace/setting", Action.INFER, partial(_refuse, _REFUSALS["trace"])))
        routes.append(Route(method, "/v2/logging", Action.INFER, partial(_refuse, _REFUSALS["logging"])))
        trace = partial(_refuse, _REFUSALS["trace"])
        routes.append(Route(method, "/v2/models/{name}/trace/setting", Action.INFER, trace, names_deployment=True))
    return routes


def _routes() -> tuple[Route, ...]:
    asks = CallKind.METADATA
    routes = [
        Route("GET", "/v2", Action.INFER, server_metadata, asks),
        Route("GET", "/v2/health/live", None, live),
        Route("GET", "/v2/health/ready", None, ready),
        Route("GET", "/v2/models/stats", Action.INFER, all_statistics, asks),
        Route("POST", "/v2/repository/index", Action.INFER, index, asks),
        Route("POST", "/v2/repository/models/{name}/load", Action.INFER, load, asks, names_deployment=True),
        Route("POST", "/v2/repository/models/{name}/unload", Action.INFER, unload, asks, names_deployment=True),
    ]
    for base in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route("GET", base, Action.INFER, metadata, asks, names_deployment=True),
            Route("GET", base + "/ready", Action.INFER, model_ready, asks, names_deployment=True),
            Route("GET", base + "/config", Action.INFER, config, asks, names_deployment=True),
            Route("GET", base + "/stats", Action.INFER, statistics, asks, names_deployment=True),
            Route("POST", base + "/infer", Action.INFER, infer, CallKind.INFER, names_deployment=True),
        ]
        for verb, run in (("generate", generate), ("generate_stream", generate_stream)):
            routes.append(Route("POST", f"{base}/{verb}", Action.INFER, run, CallKind.GENERATE, names_deployment=True))
    return (*routes, *_refusals())


PROTOCOL = Protocol("open-inference-rest", ProtocolId.OPEN_INFERENCE_REST, _routes(), error_reply)

"""Routes of MLflow's scoring server, for the deployment that the key is scoped to, and under ``/deployments/{name}`` for any."""

from __future__ import annotations

from modelyard import __version__
from modelyard.core.access import Action
from modelyard.core.errors import Unavailable
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.check import scoped_deployment
from modelyard.protocols.call import Call
from modelyard.protocols.mlflow import mapping
from modelyard.protocols.mlflow.errors import JSON, error_reply, media_type_reply
from modelyard.protocols.routing import Protocol, Reply, Route

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)


def in_scope(call: Call) -> None:
    """Means the one deployment that the key is scoped to."""
    call.params["name"] = scoped_deployment(call.grant, call.exchange.path)


def invocations(call: Call) -> None:
    """``POST /invocations`` and ``POST /deployments/{name}/invocations``."""
    kind, header, wrong = mapping.media_type(call.header(b"content-type"))
    if wrong:
        call.reply(*media_type_reply(wrong))
        return
    view = call.choose()
    function = mapping.PREDICT
    if kind == "text/csv":
        inputs = mapping.decode_csv(call.body, view.signature, header=header)
    else:
        inputs, function = mapping.decode_json(call.body, view.signature)

    def encode(response: InferResponse) -> Reply:
        return 200, JSON, mapping.encode(response.outputs)

    wanted = mapping.wanted_outputs(view.signature, function)
    call.infer(InferRequest(inputs, outputs=wanted, version=view.pin), encode)


def ping(call: Call) -> None:
    """``GET /ping`` and ``GET /health``: this process takes calls."""
    if not call.plane.accepting:
        raise Unavailable("The server is starting or stopping; try again shortly.", retry_after=1.0)
    call.reply(200, JSON, b"\n")


def ready(call: Call) -> None:
    """``GET /deployments/{name}/ping``: the deployment answers."""
    if not call.plane.ready(call.grant.workspace_id, call.name):
        raise Unavailable(f"Deployment {call.name!r} is not ready yet; try again shortly.", retry_after=1.0)
    call.reply(200, JSON, b"\n")


def version(call: Call) -> None:
    """``GET /version``: of this server, as plain text."""
    call.reply(200, _TEXT, __version__.encode())


_NAMED = "/deployments/{name}"
PROTOCOL = Protocol(
    "mlflow",
    ProtocolId.MLFLOW,
    (
        Route("POST", "/invocations", Action.INFER, invocations, CallKind.INFER, names_deployment=True, locate=in_scope),
        Route("POST", f"{_NAMED}/invocations", Action.INFER, invocations, CallKind.INFER, names_deployment=True),
        Route("GET", "/ping", None, ping),
        Route("GET", "/health", None, ping),
        Route("GET", f"{_NAMED}/ping", Action.INFER, ready, CallKind.METADATA, names_deployment=True),
        Route("GET", f"{_NAMED}/health", Action.INFER, ready, CallKind.METADATA, names_deployment=True),
        Route("GET", "/version", Action.INFER, version, CallKind.METADATA),
    ),
    error_reply,
)

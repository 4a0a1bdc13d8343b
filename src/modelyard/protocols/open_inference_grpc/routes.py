"""Methods of ``inference.GRPCInferenceService`` as routes: each is a POST of one message, as on the wire.

The message names the deployment, so each route finds it there; right, permit and journal are the same as for HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from google.protobuf.json_format import ParseDict

from modelyard import __version__
from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest
from modelyard.core.inference import InferResponse
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.descriptors import parse
from modelyard.protocols.open_inference_grpc import mapping
from modelyard.protocols.open_inference_grpc.errors import error_reply, stream_error_reply
from modelyard.protocols.open_inference_grpc.stubs import PACKAGE, SERVICE, methods
from modelyard.protocols.open_inference_rest import routes as rest
from modelyard.protocols.open_inference_rest import schemas
from modelyard.protocols.routing import Protocol, Reply, Route

_BASE = f"/{PACKAGE}.{SERVICE}/"
_METHODS = {path.removeprefix(_BASE): kinds for path, kinds in methods().items()}
STREAM = _BASE + "ModelStreamInfer"
_STATISTICS = _BASE + "ModelStatistics"
EXTENSIONS = tuple(name for name in rest.EXTENSIONS if name != "binary_tensor_data")


def _answer(call: Call, document: dict[str, Any]) -> None:
    """Answers with the response message of the method, filled from a document with its fields."""
    _, kind = _METHODS[call.exchange.path.removeprefix(_BASE)]
    call.reply(200, (), ParseDict(document, kind()).SerializeToString())


def _locate(method: str, call: Call) -> None:
    """Reads the message, and the deployment and version that it names."""
    call.message = wire = parse(_METHODS[method][0], call.exchange.body)
    name = wire.model_name if hasattr(wire, "model_name") else wire.name
    if not name:
        raise InvalidRequest("The request names no model; give the name of a deployment.")
    call.params["name"] = name
    version = getattr(wire, "model_version", "") or getattr(wire, "version", "")
    if version:
        call.params["version"] = version


def live(call: Call) -> None:
    """This process answers."""
    _answer(call, {"live": True})


def ready(call: Call) -> None:
    """Whether this process takes calls."""
    _answer(call, {"ready": call.plane.accepting})


def server_metadata(call: Call) -> None:
    _answer(call, {"name": "modelyard", "version": __version__, "extensions": EXTENSIONS})


def model_ready(call: Call) -> None:
    """Whether a deployment, or one of its versions, answers."""
    _answer(call, {"ready": call.plane.ready(call.grant.workspace_id, call.name, call.params.get("version", ""))})


def model_metadata(call: Call) -> None:
    _answer(call, schemas.model_metadata(rest.view_of(call)))


def model_config(call: Call) -> None:
    _answer(call, {"config": schemas.model_config(rest.view_of(call))})


def _locate_statistics(call: Call) -> None:
    """As ``_locate``, but no name means every deployment that the key may call: none that a permit could be for."""
    if parse(_METHODS["ModelStatistics"][0], call.exchange.body).name:
        _locate("ModelStatistics", call)


def model_statistics(call: Call) -> None:
    """Counts and times of one version, one deployment, or all that the key may call."""
    _answer(call, rest.statistics_document(call) if "name" in call.params else rest.all_statistics_document(call))


def index(call: Call) -> None:
    """Versions of every deployment that the key may call."""
    wire = parse(_METHODS["RepositoryIndex"][0], call.body)
    _answer(call, {"models": rest.index_entries(call, ready_only=wire.ready)})


def load(call: Call) -> None:
    """What is deployed is loaded already, so this only says whether it is."""
    rest.check_load(call, with_parameters=bool(call.message.parameters))
    _answer(call, {})


def unload(call: Call) -> None:
    """Refused, because a deployment is shared by all who may call it."""
    rest.unload(call)


def _infer(encode: Callable[[str, mapping.Decoded, InferResponse], bytes], call: Call) -> None:
    params = call.params
    decoded = mapping.decode(call.message, params.get("version", ""))

    def reply(response: InferResponse) -> Reply:
        return 200, (), encode(params["name"], decoded, response)

    call.infer(decoded.request, reply)


def _named(method: str, run: Callable[[Call], None], kind: CallKind = CallKind.METADATA) -> Route:
    return Route("POST", _BASE + method, Action.INFER, run, kind, names_deployment=True, locate=partial(_locate, method))


PROTOCOL = Protocol(
    "open-inference-grpc",
    ProtocolId.OPEN_INFERENCE_GRPC,
    (
        Route("POST", _BASE + "ServerLive", None, live),
        Route("POST", _BASE + "ServerReady", None, ready),
        Route("POST", _BASE + "ServerMetadata", Action.INFER, server_metadata, CallKind.METADATA),
        Route("POST", _BASE + "RepositoryIndex", Action.INFER, index, CallKind.METADATA),
        _named("ModelReady", model_ready),
        _named("ModelMetadata", model_metadata),
        _named("ModelConfig", model_config),
        Route("POST", _STATISTICS, Action.INFER, model_statistics, CallKind.METADATA, names_deployment=True, locate=_locate_statistics),
        _named("RepositoryModelLoad", load),
        _named("RepositoryModelUnload", unload),
        _named("ModelInfer", partial(_infer, mapping.encode), CallKind.INFER),
    ),
    error_reply,
)
STREAMED = Protocol(
    "open-inference-grpc-stream",
    ProtocolId.OPEN_INFERENCE_GRPC,
    (_named("ModelStreamInfer", partial(_infer, mapping.encode_streamed), CallKind.INFER),),
    stream_error_reply,
)
"""One request of a stream is one call, with an error form of its own."""

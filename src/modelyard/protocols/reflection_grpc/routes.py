"""The one method of server reflection, under its two names. It needs a key, as everything but health does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.core.access import Action
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.descriptors import Stubs, parse
from modelyard.protocols.health_grpc.routes import STUBS as HEALTH
from modelyard.protocols.open_inference_grpc.errors import error_reply
from modelyard.protocols.open_inference_grpc.stubs import STUBS as INFERENCE
from modelyard.protocols.routing import Protocol, Route
from modelyard.protocols.tensorflow_grpc.stubs import STUBS as TENSORFLOW

STUBS = Stubs(Path(__file__).parent / "stubs" / "reflection.pb", "grpc.reflection.v1")
_REQUEST, _RESPONSE = STUBS.message("ServerReflectionRequest"), STUBS.message("ServerReflectionResponse")
SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "inference.GRPCInferenceService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)
_POOLS = tuple(stubs.pool for stubs in (INFERENCE, TENSORFLOW, HEALTH, STUBS))
_NOT_FOUND, _UNIMPLEMENTED = 5, 12


def reflect(call: Call) -> None:
    """Answers one question of a stream; what is not there is an error within the answer, and the stream goes on."""
    request = parse(_REQUEST, call.exchange.body)
    answer = _RESPONSE(valid_host=request.host, original_request=request)
    kind = request.WhichOneof("message_request")
    if kind == "list_services":
        for name in SERVICES:
            answer.list_services_response.service.add(name=name)
    elif kind in ("file_by_filename", "file_containing_symbol"):
        file = _find(kind, getattr(request, kind))
        if file is None:
            answer.error_response.error_code = _NOT_FOUND
            answer.error_response.error_message = f"There is no {getattr(request, kind)[:100]!r} here."
        else:
            answer.file_descriptor_response.file_descriptor_proto.extend(_with_imports(file).values())
    else:
        answer.error_response.error_code = _UNIMPLEMENTED
        answer.error_response.error_message = "Extensions are not used here; ask for services, files or symbols."
    call.reply(200, (), answer.SerializeToString())


def _find(kind: str, name: str) -> Any:
    for pool in _POOLS:
        try:
            return pool.FindFileByName(name) if kind == "file_by_filename" else pool.FindFileContainingSymbol(name)
        except KeyError:
            continue
    return None


def _with_imports(file: Any) -> dict[str, bytes]:
    """A file and all that it imports, encoded, by name."""
    found = {file.name: file.serialized_pb}
    for imported in file.dependencies:
        found |= _with_imports(imported)
    return found


def _route(package: str) -> Route:
    return Route("POST", f"/{package}.ServerReflection/ServerReflectionInfo", Action.INFER, reflect, CallKind.METADATA)


PROTOCOL = Protocol("grpc-reflection", ProtocolId.OTHER, (_route("grpc.reflection.v1"), _route("grpc.reflection.v1alpha")), error_reply)

"""Routes of the TensorFlow Serving REST API; the protocol's "model" is a deployment, its labels are aliases."""

from __future__ import annotations

from typing import Any

import orjson

from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.openai.models import model_object
from modelyard.protocols.routing import Protocol, Reply, Route
from modelyard.protocols.tensorflow_rest import mapping, schemas
from modelyard.protocols.tensorflow_rest.errors import JSON, error_reply


def wanted_version(call: Call) -> str:
    """The version number or alias that the path asks for; empty where it asks for none.

    Raises InvalidRequest for a version that is no number, NotFound for a label that is one
    and for a number that no version can have.
    """
    version = call.params.get("version")
    if version is not None:
        if not (version.isascii() and version.isdigit()):
            raise InvalidRequest(f"{version[:64]!r} is not a version number; an alias is asked for as /labels/{version[:64]}.")
        if len(version) > 18:
            raise NotFound(f"Deployment {call.name!r} has no version of such a number.")
        return str(int(version))
    label = call.params.get("label", "")
    if label.isascii() and label.isdigit():
        raise NotFound(f"{label[:64]!r} is not a label; a version number is asked for as /versions/{label[:64]}.")
    return label


def status(call: Call) -> None:
    """``GET /v1/models/{name}``: states of versions. Clients of OpenAI's and KServe's protocols ask this too, and read other keys of it."""
    wanted = wanted_version(call)
    view = call.plane.served(call.grant.workspace_id, call.name, wanted)
    numbers = [view.number] if wanted else sorted(view.versions, reverse=True)
    ready = [call.plane.ready(call.grant.workspace_id, call.name, str(number)) for number in numbers]
    states = [schemas.version_status(number, ready=state) for number, state in zip(numbers, ready, strict=True)]
    document: dict[str, Any] = {"model_version_status": states}
    if not wanted:
        document |= {"name": call.name, "ready": all(ready), **model_object(call.name)}
    call.reply(200, JSON, orjson.dumps(document))


def metadata(call: Call) -> None:
    """``GET …/metadata``: the signature of a version."""
    view = call.plane.served(call.grant.workspace_id, call.name, wanted_version(call))
    call.reply(200, JSON, orjson.dumps(schemas.metadata_document(call.name, view.number, view.signature)))


def predict(call: Call) -> None:
    """``POST …:predict``."""
    version = wanted_version(call)
    view = call.choose(version)
    inputs, columnar = mapping.decode_predict(call.body, view.signature)

    def encode(response: InferResponse) -> Reply:
        return 200, JSON, mapping.encode_predict(response.outputs, columnar=columnar)

    call.infer(InferRequest(inputs, version=version or view.pin), encode)


def classify(call: Call) -> None:
    """``POST …:classify``."""
    version = wanted_version(call)
    view = call.choose(version)
    scores = mapping.scores_output(view.signature).name
    inputs = mapping.decode_examples(call.body, view.signature)

    def encode(response: InferResponse) -> Reply:
        return 200, JSON, mapping.encode_classification(response.outputs[scores], response.signature.classes)

    call.infer(InferRequest(inputs, outputs=(scores,), version=version or view.pin), encode)


def regress(call: Call) -> None:
    """``POST …:regress``."""
    version = wanted_version(call)
    view = call.choose(version)
    output = mapping.regression_output(view.signature).name
    inputs = mapping.decode_examples(call.body, view.signature)

    def encode(response: InferResponse) -> Reply:
        return 200, JSON, mapping.encode_regression(response.outputs[output])

    call.infer(InferRequest(inputs, outputs=(output,), version=version or view.pin), encode)


def _routes() -> tuple[Route, ...]:
    routes: list[Route] = []
    for base in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}", "/v1/models/{name}/labels/{label}"):
        routes += [
            Route("GET", base, Action.INFER, status, CallKind.METADATA, names_deployment=True),
            Route("GET", base + "/metadata", Action.INFER, metadata, CallKind.METADATA, names_deployment=True),
            Route("POST", base + ":predict", Action.INFER, predict, CallKind.INFER, names_deployment=True),
            Route("POST", base + ":classify", Action.INFER, classify, CallKind.INFER, names_deployment=True),
            Route("POST", base + ":regress", Action.INFER, regress, CallKind.INFER, names_deployment=True),
        ]
    return tuple(routes)


PROTOCOL = Protocol("tensorflow-rest", ProtocolId.TENSORFLOW_REST, _routes(), error_reply)

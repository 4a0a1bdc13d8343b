"""Routes of a Vertex AI container, at the paths that its environment names. Answers and errors are TensorFlow Serving's."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.core.access import Action, Grant
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.mlflow.routes import in_scope
from modelyard.protocols.routing import Protocol, Reply, Route
from modelyard.protocols.sagemaker.routes import readiness
from modelyard.protocols.tensorflow_rest.errors import JSON, error_reply
from modelyard.protocols.tensorflow_rest.mapping import encode_predict
from modelyard.protocols.vertex.mapping import decode


def predict(call: Call) -> None:
    """``{"instances": [...]}`` → ``{"predictions": [...]}``."""
    view = call.choose()
    inputs = decode(call.body, view.signature)

    def encode(response: InferResponse) -> Reply:
        return 200, JSON, encode_predict(response.outputs, columnar=False)

    call.infer(InferRequest(inputs, version=view.pin), encode)


def create_protocol(bound: Callable[[], Grant], health_route: str, predict_route: str) -> Protocol:
    """The protocol for callers whose grant is always that of ``bound``."""
    return Protocol(
        "vertex",
        ProtocolId.VERTEX,
        (
            Route("GET", health_route, None, readiness(bound)),
            Route("POST", predict_route, Action.INFER, predict, CallKind.INFER, names_deployment=True, locate=in_scope),
        ),
        error_reply,
    )

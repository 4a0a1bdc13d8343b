"""``Check`` of gRPC's health protocol: whether this process takes calls. Of deployments it says nothing, since nobody needs a key here.

``Watch`` is not offered; clients take UNIMPLEMENTED as "ask with Check".
"""

from __future__ import annotations

from pathlib import Path

from modelyard.core.errors import NotFound
from modelyard.core.usage import ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.descriptors import Stubs, parse
from modelyard.protocols.open_inference_grpc.errors import error_reply
from modelyard.protocols.routing import Protocol, Route

STUBS = Stubs(Path(__file__).parent / "stubs" / "health.pb", "grpc.health.v1")
_REQUEST, _RESPONSE = STUBS.message("HealthCheckRequest"), STUBS.message("HealthCheckResponse")
SERVICES = frozenset(
    {
        "",
        "grpc.health.v1.Health",
        "inference.GRPCInferenceService",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
    }
)
"""What can be asked about; without a name the whole server is meant."""


def check(call: Call) -> None:
    """SERVING, or NOT_SERVING while this process loads its versions or ends."""
    service = parse(_REQUEST, call.exchange.body).service
    if service not in SERVICES:
        raise NotFound(f"There is no service {service[:64]!r} here.")
    status = "SERVING" if call.plane.accepting else "NOT_SERVING"
    call.reply(200, (), _RESPONSE(status=status).SerializeToString())


PROTOCOL = Protocol("grpc-health", ProtocolId.OTHER, (Route("POST", "/grpc.health.v1.Health/Check", None, check),), error_reply)

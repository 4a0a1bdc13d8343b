"""Routes of a SageMaker container. Bodies are those of MLflow's scoring protocol, which MLflow itself deploys to SageMaker."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.core.access import Action, Grant
from modelyard.core.errors import Unavailable
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.call import Call
from modelyard.protocols.mlflow.errors import JSON, error_reply
from modelyard.protocols.mlflow.routes import in_scope, invocations
from modelyard.protocols.routing import Protocol, Route


def readiness(bound: Callable[[], Grant]) -> Callable[[Call], None]:
    """A route that answers 200 once the deployment that ``bound`` allows is ready, and 503 before."""

    def ready(call: Call) -> None:
        grant = bound()
        (name,) = grant.deployments
        if not (call.plane.accepting and call.plane.ready(grant.workspace_id, name)):
            raise Unavailable(f"Deployment {name!r} is not ready yet.", retry_after=1.0)
        call.reply(200, JSON, b"{}")

    return ready


def create_protocol(bound: Callable[[], Grant]) -> Protocol:
    """The protocol for callers whose grant is always that of ``bound``."""
    return Protocol(
        "sagemaker",
        ProtocolId.SAGEMAKER,
        (
            Route("GET", "/ping", None, readiness(bound)),
            Route("POST", "/invocations", Action.INFER, invocations, CallKind.INFER, names_deployment=True, locate=in_scope),
        ),
        error_reply,
    )

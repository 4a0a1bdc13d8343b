"""The protocols of container contracts, which stand alone on the inference listener because their callers need no key."""

from __future__ import annotations

from modelyard.gate.bound import BoundGate
from modelyard.protocols.routing import Protocol
from modelyard.protocols.sagemaker.routes import create_protocol as sagemaker
from modelyard.protocols.vertex.routes import create_protocol as vertex
from modelyard.server.settings import Settings


def contract_protocol(settings: Settings, gate: BoundGate) -> Protocol:
    """The protocol of the contract that the settings name."""
    if settings.contract == "vertex":
        return vertex(gate.grant, settings.contract_health_route, settings.contract_predict_route)
    return sagemaker(gate.grant)

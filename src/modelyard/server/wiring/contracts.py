"""The gates and protocols of container contracts, which stand alone on the inference listener because their callers need no key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from modelyard.gate.bound import BoundGate, HostingGate
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.protocols.routing import Protocol
from modelyard.protocols.sagemaker.models import create_protocol as sagemaker_models
from modelyard.protocols.sagemaker.routes import create_protocol as sagemaker
from modelyard.protocols.vertex.routes import create_protocol as vertex
from modelyard.server.settings import Settings
from modelyard.serving.hosting_files import HostingFiles
from modelyard.store.home import Home

LOADS = 8
"""Requests to load or unload that may wait in one worker; the rest wait for these."""


def contract_gate(settings: Settings, gate: Gate, holder: SnapshotHolder) -> BoundGate | None:
    """The gate of the contract that the settings name; None where they name none."""
    if not settings.contract:
        return None
    return HostingGate(gate, holder) if settings.contract_models else BoundGate(gate, holder, settings.contract_deployment)


def contract_protocol(settings: Settings, home: Home, gate: BoundGate) -> Protocol:
    """The protocol of the contract that the settings name."""
    if isinstance(gate, HostingGate):
        # The front gives a call up a moment after this.
        ask = partial(HostingFiles(home.hosting).ask, seconds=max(0.5, settings.request_timeout_seconds - 1.0))
        return sagemaker_models(gate.hosted, ask, ThreadPoolExecutor(LOADS, thread_name_prefix="hosting"))
    if settings.contract == "vertex":
        return vertex(gate.grant, settings.contract_health_route, settings.contract_predict_route)
    return sagemaker(gate.grant)

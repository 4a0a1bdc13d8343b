"""Message classes of the Open Inference Protocol, made from the compiled ``open_inference.proto``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.protocols.descriptors import Stubs

PACKAGE = "inference"
SERVICE = "GRPCInferenceService"
STUBS = Stubs(Path(__file__).with_name("open_inference.pb"), PACKAGE)
message = STUBS.message


def methods() -> dict[str, tuple[Any, Any]]:
    """Every method of the service by its path, with the classes of its request and response."""
    return STUBS.methods(SERVICE)

"""Message classes of the Open Inference Protocol, made from the compiled ``open_inference.proto``.

They live in a descriptor pool of their own: protobuf's default pool refuses two files that define the same names, so a client
library with stubs for the same protocol could not be used in the same process otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"
SERVICE = "GRPCInferenceService"


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    compiled = Path(__file__).with_name("open_inference.pb").read_bytes()
    for file in FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def message(name: str) -> Any:
    """The class of a message, e.g. ``ModelInferRequest``."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def methods() -> dict[str, tuple[Any, Any]]:
    """Every method of the service by its path, with the classes of its request and response."""
    service = _POOL.FindServiceByName(f"{PACKAGE}.{SERVICE}")
    return {
        f"/{PACKAGE}.{SERVICE}/{method.name}": (GetMessageClass(method.input_type), GetMessageClass(method.output_type))
        for method in service.methods
    }

"""Message classes of a gRPC protocol, made from its compiled ``.proto`` file.

They live in a descriptor pool of their own: protobuf's default pool refuses two files that define the same names, so a client
library with stubs for the same protocol could not be used in the same process otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from modelyard.core.errors import InvalidRequest


class Stubs:
    """What a descriptor set defines in ``package``."""

    def __init__(self, compiled: Path, package: str) -> None:
        self.package = package
        self.pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(compiled.read_bytes()).file:
            self.pool.AddSerializedFile(file.SerializeToString())

    def message(self, name: str) -> Any:
        """The class of a message, e.g. ``ModelInferRequest``."""
        return GetMessageClass(self.pool.FindMessageTypeByName(f"{self.package}.{name}"))

    def methods(self, service: str) -> dict[str, tuple[Any, Any]]:
        """Every method of a service by its path, with the classes of its request and response."""
        found = self.pool.FindServiceByName(f"{self.package}.{service}")
        return {
            f"/{self.package}.{service}/{method.name}": (GetMessageClass(method.input_type), GetMessageClass(method.output_type))
            for method in found.methods
        }


def parse(kind: Any, body: bytes) -> Any:
    """A message of a class from its bytes.

    Raises InvalidRequest for anything else.
    """
    try:
        return kind.FromString(body)
    except (DecodeError, UnicodeDecodeError):
        raise InvalidRequest(f"The request is not a message of type {kind.DESCRIPTOR.full_name}.") from None

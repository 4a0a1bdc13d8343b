"""The gRPC listener of a worker. Imported only where it is on: grpc and protobuf cost every worker memory."""

from __future__ import annotations

from modelyard.protocols.health_grpc.routes import PROTOCOL as HEALTH
from modelyard.protocols.open_inference_grpc.routes import PROTOCOL, STREAMED
from modelyard.protocols.reflection_grpc.routes import PROTOCOL as REFLECTION
from modelyard.protocols.tensorflow_grpc.routes import PROTOCOL as TENSORFLOW
from modelyard.server.entrance import entrance
from modelyard.server.fronts.grpc import GrpcConfig, GrpcFront
from modelyard.server.handler import Handler
from modelyard.server.settings import Settings

UNARY = (PROTOCOL, TENSORFLOW, HEALTH)
"""Protocols whose methods take one message and give one."""
STREAMS = (STREAMED, REFLECTION)
"""Protocols whose methods take and give streams of messages."""


def build(settings: Settings, address: str, handler: Handler) -> GrpcFront:
    """A front on ``address`` with every gRPC protocol, behind the gate and in front of the data plane of ``handler``."""
    config = GrpcConfig(
        address=address,
        entrance=entrance(settings, "grpc"),
        max_message_bytes=settings.max_body_bytes,
        max_head_bytes=settings.max_head_bytes,
        call_timeout_s=settings.request_timeout_seconds,
    )
    paths = [route.pattern for protocol in UNARY for route in protocol.routes]
    streams = [route.pattern for protocol in STREAMS for route in protocol.routes]
    return GrpcFront(handler.carrying((*UNARY, *STREAMS)), paths, streams, config)

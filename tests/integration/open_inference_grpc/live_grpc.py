"""``Live`` with a gRPC front beside the HTTP one."""

from __future__ import annotations

from integration.live import Live
from modelyard.protocols.open_inference_grpc.routes import PROTOCOL, STREAMED
from modelyard.server.fronts.grpc import GrpcConfig, GrpcFront


class LiveGrpc(Live):
    def __init__(self, folder, make_model, **limits):
        super().__init__(folder, make_model, (PROTOCOL, STREAMED))
        self.limits = limits

    async def start_more(self):
        paths = [route.pattern for route in PROTOCOL.routes]
        streams = [route.pattern for route in STREAMED.routes]
        self.front = GrpcFront(self.handler, paths, streams, GrpcConfig(address="127.0.0.1:0", **self.limits))
        self.grpc_port = await self.front.start()

    async def stop_more(self):
        await self.front.drain(2)

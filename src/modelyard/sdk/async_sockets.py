"""HTTP over TCP or over Unix sockets, by the host of each request."""

from __future__ import annotations

import ssl

import httpx

from modelyard.sdk.trust import socket_of


class AsyncSockets(httpx.AsyncBaseTransport):
    """Sends requests to ``address("unix:/path")`` through that socket, and all others as usual."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._network = httpx.AsyncHTTPTransport(verify=context)
        self._sockets: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = socket_of(request.url.host)
        if not path:
            return await self._network.handle_async_request(request)
        transport = self._sockets.get(path)
        if transport is None:
            transport = self._sockets[path] = httpx.AsyncHTTPTransport(uds=path)
        request.headers["host"] = "localhost"
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        for transport in (self._network, *self._sockets.values()):
            await transport.aclose()

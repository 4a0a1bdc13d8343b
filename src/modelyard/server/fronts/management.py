"""The front of the management API: uvicorn behind our own way in, with networks and certificates as the other fronts have them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelyard.core.access import Certificate
from modelyard.server.certificates import shown_by
from modelyard.server.entrance import Entrance
from modelyard.server.listen import attach, peer_name

GRACE_SECONDS = 10
_REFRESH_TICKS = 5
"""Certificates are looked at with every so many of uvicorn's ticks, which are a tenth of a second."""


class ManagementServer(uvicorn.Server):
    """Serves ``app`` on a listening socket; tells when it serves, and leaves signals to others."""

    def __init__(self, app: Any, listener: socket.socket, entrance: Entrance, ready: Callable[[], None]) -> None:
        self._listener, self._entrance, self._ready = listener, entrance, ready
        super().__init__(
            uvicorn.Config(
                Wired(app, entrance),
                http=_protocol(entrance),
                proxy_headers=False,
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  # uvicorn's signature
        await super().startup([])  # it listens to nothing itself
        self.servers.append(Door(self._listener, self._entrance, self._connection))  # type: ignore[arg-type]
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        certificates = self._entrance.certificates
        if certificates is not None and counter % _REFRESH_TICKS == 0:
            certificates.refresh()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002  # uvicorn's signature
        """A signal asks for the end; unlike uvicorn we do not raise it again afterwards."""
        self.stop()

    def stop(self) -> None:
        """Ends serving; callable from any thread."""
        self.should_exit = True

    def _connection(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(config=self.config, server_state=self.server_state, app_state={})  # type: ignore[call-arg]
        return protocol


class Door:
    """Accepts connections from one socket; what uvicorn takes for a server of asyncio."""

    def __init__(self, listener: socket.socket, entrance: Entrance, factory: Callable[[], asyncio.Protocol]) -> None:
        self._listener, self._entrance, self._factory = listener, entrance, factory
        self._loop = asyncio.get_running_loop()
        self._attaching: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Accepts no more."""
        self._loop.remove_reader(self._listener)
        self._listener.close()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:
            return  # whoever it was is gone, or no descriptor is free now
        if len(self._attaching) >= self._entrance.most_handshakes or not self._entrance.rules.admits(peer_name(address)):
            connection.close()
            return
        connection.setblocking(False)
        task = self._loop.create_task(attach(self._entrance, connection, self._factory))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)


class Wired:
    """ASGI middleware that says who is at the other end: the client's real address, and the certificate that it showed."""

    def __init__(self, app: Any, entrance: Entrance) -> None:
        self._app, self._proxies = app, entrance.proxies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            peer = peer_name(scope["client"])
            if self._proxies.trusts(peer):
                headers: dict[bytes, bytes] = {}
                for name, value in scope["headers"]:
                    headers[name] = headers[name] + b", " + value if name in headers else value
                peer = self._proxies.client(headers, peer)
            scope["client"] = (peer, 0)
        await self._app(scope, receive, send)


def _protocol(entrance: Entrance) -> type[asyncio.Protocol]:
    class Connection(HttpToolsProtocol):
        """Puts the client's certificate into the state of each of its requests."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            shown: Certificate | None = shown_by(transport)
            self.app_state = {"certificate": shown}

    return Connection if entrance.asks_for_certificates else HttpToolsProtocol

"""The front of the management API: uvicorn behind our own way in, with networks and certificates as the other fronts have them.

uvicorn takes heads of any length and waits for their ends for ever, from anybody: here both are bounded as for inference.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelyard.core.access import Certificate
from modelyard.core.api import ErrorBody, ErrorDetail
from modelyard.core.errors import TooLarge
from modelyard.server.certificates import shown_by
from modelyard.server.entrance import Entrance
from modelyard.server.fronts.limits import FrontConfig
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
    """ASGI middleware that says who is at the other end: the client's real address, and whether it came by TLS, as proxies tell."""

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
                scope["scheme"] = self._proxies.scheme(headers) or scope["scheme"]
            scope["client"] = (peer, 0)
        await self._app(scope, receive, send)


class BoundedConnection(HttpToolsProtocol):
    """A connection whose requests' heads are no longer than ``limits`` allow, and come in time."""

    limits = FrontConfig()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._head = self._fields = 0
        """Bytes and fields that the parser has told of a head; trailers count as well."""
        self._untold = 0
        """Bytes of a head that came in pieces: of a field that is not whole the parser tells nothing."""
        self._between, self._begun, self._refused = True, 0, False
        """Whether no request is under way, and how many have begun in the piece that is read."""
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = self.loop.call_later(self.limits.head_timeout_s, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        whole, self._begun = self._between, 0
        super().data_received(data)
        if self._late is None or self._refused:
            return
        # It goes on. Of a piece in which another request ended it is not known how much is of this one.
        self._untold += len(data) if self._begun == whole else 0
        if self._too_large:
            self.send_400_response("")

    def on_message_begin(self) -> None:
        self._head = self._fields = self._untold = 0
        self._between = False
        self._begun += 1
        self._in_time()
        self._late = self.loop.call_later(self.limits.head_timeout_s, self.transport.close)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._take(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._take(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, or ours to a head that is too large: what still comes is read, or it would not arrive."""
        self._refused = True
        if not self._too_large:
            super().send_400_response(msg)
            return
        limits = self.limits
        told = f"The head of a request has at most {limits.max_headers} fields and {limits.max_head_bytes} bytes; send less."
        body = msgspec.json.encode(ErrorBody(error=ErrorDetail(code=TooLarge.code, message=told)))
        fields = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
        self.transport.write(f"HTTP/1.1 431 Request Header Fields Too Large\r\n{fields}\r\n\r\n".encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._in_time()
        self._late = self.loop.call_later(limits.linger_timeout_s, self.transport.close)

    def _take(self, size: int) -> None:
        """Counts what the parser tells of a head. Raises TooLarge, which ends the parsing."""
        self._head += size
        if self._too_large:
            raise TooLarge("The head is too large.")

    @property
    def _too_large(self) -> bool:
        most = self.limits
        return max(self._head, self._untold) > most.max_head_bytes or self._fields > most.max_headers

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _protocol(entrance: Entrance) -> type[asyncio.Protocol]:
    class Connection(BoundedConnection):
        """Puts the client's certificate into the state of each of its requests."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            shown: Certificate | None = shown_by(transport)
            self.app_state = {"certificate": shown}

    return Connection if entrance.asks_for_certificates else BoundedConnection

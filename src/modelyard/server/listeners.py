"""The sockets of one platform, opened once by the supervisor and inherited by its children."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.server.entrance import needs_private_way, tls_files
from modelyard.server.listen import listen, listener_url, reserve
from modelyard.server.settings import Settings
from modelyard.store.home import Home

_LONGEST_PATH = 100
"""Of a Unix socket; the kernel takes 107 bytes on Linux, 103 on macOS."""


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """Open sockets."""

    inference: socket.socket
    management: socket.socket
    grpc: socket.socket | None
    """Holds the port of gRPC; None where gRPC is off."""
    private: socket.socket | None
    """Where the controller calls workers: plain text on a Unix socket that only this user can open. None where the inference listener
    itself can be called so simply."""

    def urls(self, settings: Settings) -> tuple[str, str]:
        """Of inference and management."""
        return (
            listener_url(self.inference, secure=tls_files(settings, "inference") is not None),
            listener_url(self.management, secure=tls_files(settings, "management") is not None),
        )

    def private_url(self, inference_url: str) -> str:
        """How the controller calls workers."""
        if self.private is not None:
            return listener_url(self.private)
        return inference_url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


@contextmanager
def open_listeners(settings: Settings, home: Home) -> Iterator[Listeners]:
    """Listens, until the block ends; files of Unix sockets go away with it.

    Raises Conflict for a port or path that is taken, InvalidRequest for one that cannot be listened on.
    """
    with ExitStack() as stack:

        def opened(path: str, port: int) -> socket.socket:
            mode = int(settings.socket_mode, 8)
            listener = stack.enter_context(listen(path or settings.host, port, mode=mode))
            if path:
                stack.callback(Path(path).unlink, missing_ok=True)
            return listener

        inference = opened(_path(settings.socket), settings.port)
        management = opened(_path(settings.management_socket), settings.management_port)
        grpc = reserve(settings.host, settings.grpc_port) if settings.grpc_port >= 0 else None
        if grpc is not None:
            stack.enter_context(grpc)
        private = None
        if needs_private_way(settings):
            path = str(home.run / "calls.sock")
            if len(path.encode()) > _LONGEST_PATH:
                path = str(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelyard-"))) / "calls.sock")
            private = stack.enter_context(listen(path, 0))
            stack.callback(Path(path).unlink, missing_ok=True)
        yield Listeners(inference=inference, management=management, grpc=grpc, private=private)


def _path(given: str) -> str:
    return str(Path(given).expanduser().absolute()) if given else ""

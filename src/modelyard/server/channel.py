"""What the supervisor and a child say to each other: JSON lines over a socket pair that is the child's standard input.

Settings, the admin key included, travel this way, so that nothing secret stands on a command line or in an environment.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from modelyard.server.lifeline import die_with
from modelyard.server.settings import Settings


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: everything a child needs. Descriptors are inherited under the same number; -1 for none."""

    settings: dict[str, Any]
    parent: int
    name: str
    slot: int = 0
    descriptor: int = -1
    """The listening socket to serve on."""
    private: int = -1
    """The Unix socket on which workers serve the controller, where it cannot simply call as others do."""
    private_url: str = ""
    """How the controller calls the inference listener."""
    inference_url: str = ""
    management_url: str = ""
    grpc_address: str = ""
    """``host:port`` that workers listen on for gRPC; empty where it is off."""
    boot: str = ""
    """32 hex digits, new for each start of the platform."""


class Said(StrEnum):
    """What a child tells."""

    READY = "ready"  # it serves
    ADMIN_KEY = "admin_key"  # the bootstrap key, to be shown once
    FATAL = "fatal"  # it cannot work, and starting it again would not help


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line from a child."""

    said: Said
    text: str = ""


class ChildChannel:
    """The child's end."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=0)
        self._socket.setblocking(True)

    def receive(self) -> tuple[Handover, Settings]:
        """Waits for the handover, and ties this process's life to the supervisor's."""
        with self._socket.makefile("rb") as lines:
            handover = msgspec.json.decode(lines.readline(), type=Handover)
        die_with(handover.parent)
        return handover, Settings.decode(handover.settings)

    def say(self, said: Said, text: str = "") -> None:
        """Tells the supervisor."""
        self._socket.sendall(msgspec.json.encode(Line(said=said, text=text)) + b"\n")


class ParentChannel:
    """The supervisor's end; never blocks on reading."""

    def __init__(self) -> None:
        self.socket, self.far = socket.socketpair()
        self._rest = b""
        self.open = True
        """Whether more may come."""

    def hand_over(self, handover: Handover) -> None:
        """Sends the first line and gives up the child's end, which the child holds by now."""
        self.far.close()
        self.socket.sendall(msgspec.json.encode(handover) + b"\n")
        self.socket.setblocking(False)

    def read(self) -> Iterator[Line]:
        """Lines that have come."""
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self.open = False
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            yield msgspec.json.decode(line, type=Line)

    def close(self) -> None:
        self.socket.close()
        self.far.close()

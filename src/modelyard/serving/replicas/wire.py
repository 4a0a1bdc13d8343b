"""Frames over a Unix socket, for both ends; and sockets whose paths are too long for the system."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from modelyard.core.errors import InvalidRequest
from modelyard.core.frames import PREFIX, BadFrame, Buffer, Frame, decode_frame, frame_size

STAGE = 64 << 10
LONGEST_PATH = 100
"""Bytes of a socket's path that every system takes."""


class FrameProtocol(asyncio.BufferedProtocol):
    """Reads frames: small ones gather in a staging buffer, large ones are read to where they stay."""

    def __init__(self) -> None:
        self._stage = memoryview(bytearray(STAGE))
        self._have = 0
        self._large: memoryview | None = None
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def received(self, frame: Frame) -> None:
        """Called with every frame; raises BadFrame to give the connection up."""
        raise NotImplementedError

    def lost(self) -> None:
        """Called once when the connection has ended, for whatever reason."""
        raise NotImplementedError

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._transport = None
        self._writable.set()
        self.lost()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def writable(self) -> None:
        """Waits until the peer has taken most of what was sent, or is gone."""
        await self._writable.wait()

    def send(self, parts: list[Buffer]) -> None:
        """Writes one encoded frame; nothing happens when the connection has ended."""
        if self._transport is not None:
            for part in parts:
                self._transport.write(part)

    def disconnect(self) -> None:
        """Ends the connection after what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        return (self._stage if self._large is None else self._large)[self._have :]

    def buffer_updated(self, nbytes: int) -> None:
        self._have += nbytes
        try:
            if self._large is None:
                self._read_stage()
            elif self._have == len(self._large):
                whole, self._large, self._have = self._large, None, 0
                self.received(decode_frame(whole))
        except BadFrame:
            if self._transport is not None:
                self._transport.abort()

    def _read_stage(self) -> None:
        at, have, stage = 0, self._have, self._stage
        while have - at >= PREFIX.size:
            size = frame_size(stage[at : at + PREFIX.size])
            if size > STAGE:
                # Its rest is read to where it stays; the memory is not cleared first, unlike a bytearray's.
                self._large = np.empty(size, np.uint8).data
                held = have - at
                self._large[:held] = stage[at:have]
                self._have = held
                return
            if size > have - at:
                break
            self.received(decode_frame(memoryview(bytearray(stage[at : at + size]))))
            at += size
        if at:
            rest = bytes(stage[at:have])
            stage[: len(rest)] = rest
            self._have = len(rest)


def listening(path: Path) -> socket.socket:
    """A socket that listens at ``path``, for its owner only; what lay there before is removed."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    with _short(path) as address:
        made.bind(address)
    path.chmod(0o600)
    made.listen(128)
    made.setblocking(False)
    return made


async def connected(path: Path) -> socket.socket:
    """A socket connected to ``path``; raises OSError when nobody listens there."""
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    try:
        with _short(path) as address:
            await asyncio.get_running_loop().sock_connect(made, address)
    except OSError:
        made.close()
        raise
    return made


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path as the system takes it: it allows about a hundred bytes, so a longer one goes by way of its open folder."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise InvalidRequest(f"The path {str(path)!r} is too long for a socket on this system; use a home with a shorter path.")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)

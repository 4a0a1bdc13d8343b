"""Frames over a Unix socket, for both ends."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import cast

import numpy as np

from modelyard.core.frames import PREFIX, BadFrame, Buffer, Frame, decode_frame, frame_size

STAGE = 64 << 10
SPILL_S = 0.005
"""How often it is looked whether a full socket has been emptied."""


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


class DirectFrameProtocol(FrameProtocol):
    """Frames that any thread may send, straight to the socket: handing each to the event loop would wake it, and a model that computes in
    Python would wait for the interpreter meanwhile. What the socket does not take goes by way of the loop, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self._writing = threading.Lock()
        self._spilled = False
        """Whether frames go by way of the loop now."""
        self._queued = 0
        """Of those, the ones that the loop has not sent yet."""
        self._socket: socket.socket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        with self._writing:
            if self._socket is not None:
                self._socket.close()
            self._socket = None
        super().connection_lost(exc)

    def write(self, parts: list[Buffer]) -> None:
        """Sends one encoded frame; from any thread. Nothing happens when the connection has ended."""
        with self._writing:
            if self._spilled:
                self._queued += 1
                self._loop.call_soon_threadsafe(self._send_queued, parts)
                return
            for at, part in enumerate(parts):
                sent = self._sent(part)
                if sent < len(part):
                    self._spilled = True
                    rest: list[Buffer] = [memoryview(part)[sent:], *parts[at + 1 :]]
                    self._loop.call_soon_threadsafe(self._spill, rest)
                    return

    def _sent(self, part: Buffer) -> int:
        """Bytes that the socket took at once; all of them when nobody reads any more."""
        if self._socket is None:
            return len(part)
        try:
            return self._socket.send(part, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:  # the loop learns of it by itself
            return len(part)

    def _spill(self, rest: list[Buffer]) -> None:
        self.send(rest)
        self._loop.call_later(SPILL_S, self._settle)

    def _send_queued(self, parts: list[Buffer]) -> None:
        with self._writing:
            self._queued -= 1
        self.send(parts)

    def _settle(self) -> None:
        """Goes back to the straight way when all that went by the loop is sent."""
        with self._writing:
            if self._transport is None or not (self._queued or self._transport.get_write_buffer_size()):
                self._spilled = False
                return
        self._loop.call_later(SPILL_S, self._settle)

"""A worker's connection to one replica process: calls go out, their answers find back to who waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Protocol

import msgspec

from modelyard.core.frames import BadFrame, Frame, Hello, Op, encode_frame
from modelyard.core.tensors import Array
from modelyard.core.unreadable import UNREADABLE
from modelyard.serving.replicas.sockets import connected
from modelyard.serving.replicas.wire import FrameProtocol

_LAST = frozenset({Op.RESULT, Op.ERROR, Op.STATE, Op.END})
"""Frames after which none of their call comes."""
_read_hello = msgspec.msgpack.Decoder(Hello).decode


class Asker(Protocol):
    """Who waits for a call's frames. Called on the event loop."""

    def answered(self, frame: Frame) -> None:
        """Takes a frame of the call."""

    def lost(self) -> None:
        """No more frames come: the replica is gone."""


class ReplicaLink(FrameProtocol):
    """One connection. ``opened`` is called when the replica has said what it is, ``closed`` when it is gone, after its calls heard."""

    def __init__(self, name: str, opened: Callable[[ReplicaLink], None], closed: Callable[[ReplicaLink], None]) -> None:
        super().__init__()
        self.name = name
        self.hello: Hello | None = None
        self.draining = False
        """Whether no call may be sent any more."""
        self.calls: dict[int, Asker] = {}
        """Under way, by number."""
        self.others, self.others_ns = 0, 0
        """Calls of other workers that it had, and when it said so."""
        self._opened, self._closed = opened, closed
        self._numbers = count(1)

    @classmethod
    async def open(cls, name: str, path: Path, opened: Callable[[ReplicaLink], None], closed: Callable[[ReplicaLink], None]) -> ReplicaLink:
        """Connects; raises OSError when nobody listens at ``path``."""
        made = await connected(path)
        _, link = await asyncio.get_running_loop().create_unix_connection(lambda: cls(name, opened, closed), sock=made)
        return link

    @property
    def usable(self) -> bool:
        """Whether calls may be sent."""
        return self.hello is not None and not self.draining and self.connected

    def ask(self, op: Op, asker: Asker, payload: bytes = b"", tensors: Mapping[str, Array] | None = None) -> int:
        """Sends a call; its number."""
        number = next(self._numbers)
        self.calls[number] = asker
        self.send(encode_frame(op, number, payload, tensors))
        return number

    def cancel(self, number: int) -> None:
        """Says that nobody waits for a call any more; its last frame still comes."""
        self.send(encode_frame(Op.CANCEL, number))

    def note(self, outstanding: int) -> None:
        """Takes how many calls of all workers the replica has."""
        self.others, self.others_ns = max(0, outstanding - len(self.calls)), time.monotonic_ns()

    def received(self, frame: Frame) -> None:
        op, number = frame.head.op, frame.head.call
        if op == Op.HELLO:
            try:
                self.hello = _read_hello(frame.head.payload)
            except UNREADABLE as error:
                raise BadFrame(f"A replica's greeting cannot be read: {error}.") from None
            self._opened(self)
        elif op == Op.DRAIN:
            self.draining = True
        elif (asker := self.calls.pop(number, None) if op in _LAST else self.calls.get(number)) is not None:
            asker.answered(frame)

    def lost(self) -> None:
        self.draining = True
        calls, self.calls = self.calls, {}
        for asker in calls.values():
            asker.lost()
        self._closed(self)

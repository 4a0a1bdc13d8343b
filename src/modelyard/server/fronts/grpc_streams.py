"""A stream of messages, each of which is a call of its own: read ahead by a thread, answered in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

import grpc

from modelyard.core.exchange import Abort

IN_FLIGHT = 32
"""Messages of one stream that are computed at the same time."""


class Pending(Protocol):
    """A message that was handed over."""

    def abort(self, reason: Abort) -> None: ...


P = TypeVar("P", bound=Pending)


class Conversation(Generic[P]):
    """One stream. ``hand_over`` has a message answered; ``idle_s`` is how long the client may send nothing."""

    def __init__(self, hand_over: Callable[[bytes], P], idle_s: float) -> None:
        self._hand_over = hand_over
        self._idle_s = idle_s
        self._asked: queue.SimpleQueue[P | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(IN_FLIGHT)
        self._open: set[P] = set()
        self._ended = False
        self.idle = False
        """Whether it ended because the client sent nothing."""

    def exchanges(self, requests: Iterator[bytes], on_end: Callable[[Callable[[], None]], bool]) -> Iterator[P]:
        """What was handed over, in order. ``on_end`` has a function called when the client is gone."""
        if not on_end(self.end):
            return
        threading.Thread(target=self._read, args=(requests,), name="grpc-stream", daemon=True).start()
        try:
            while (exchange := self._next()) is not None:
                yield exchange
                self._open.discard(exchange)
                self._room.release()
        finally:
            self.end()

    def end(self) -> None:
        """Reads no more, and tells whoever computes that nobody waits. From any thread, any number of times."""
        self._ended = True
        self._room.release()
        self._asked.put(None)
        for exchange in tuple(self._open):
            exchange.abort(Abort.DISCONNECTED)

    def _next(self) -> P | None:
        try:
            return self._asked.get(timeout=self._idle_s)
        except queue.Empty:
            self.idle = True
            return None

    def _read(self, requests: Iterator[bytes]) -> None:
        try:
            for body in requests:
                self._room.acquire()
                if self._ended:
                    return
                exchange = self._hand_over(body)
                self._open.add(exchange)
                self._asked.put(exchange)
                if self._ended:
                    exchange.abort(Abort.DISCONNECTED)
        except grpc.RpcError:
            pass  # the client went away: ``end`` is called
        finally:
            self._asked.put(None)

"""One generation that a replica process computes, as its caller in a worker sees it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from modelyard.core.errors import DeadlineExceeded, ModelyardError, Unavailable
from modelyard.core.frames import DRAINING, Failure, Frame, Op
from modelyard.core.generation import Emit, FinishReason, GenerateRequest, TokenChunk
from modelyard.serving.replicas.link import ReplicaLink

_read_chunk = msgspec.msgpack.Decoder(TokenChunk).decode
_read_failure = msgspec.msgpack.Decoder(Failure).decode
_encode = msgspec.msgpack.Encoder().encode


class Pool(Protocol):
    """The replicas of a version; see ``remote.RemoteReplica``."""

    def dispatch(self, computation: RemoteGeneration) -> None:
        """Sends it to a replica, or keeps it until there is one."""

    def drop(self, computation: RemoteGeneration) -> None:
        """Forgets one that waits."""

    def generated(self, generation: RemoteGeneration) -> None:
        """It has ended."""


class RemoteGeneration:
    """Belongs to the event loop. A generation that has given nothing yet may begin once more on another replica."""

    def __init__(self, pool: Pool, request: GenerateRequest, emit: Emit) -> None:
        self._pool, self._request, self._emit = pool, request, emit
        self._link: ReplicaLink | None = None
        self._number = 0
        self._given = False
        self._repeated = False
        self._ended = False

    def send(self, link: ReplicaLink, *, tell: bool) -> None:  # noqa: ARG002  # as for computations
        self._link = link
        self._number = link.ask(Op.GENERATE, self, _encode(self._request))

    def refuse(self, error: ModelyardError) -> None:
        self._end(error)

    def expire(self, now_ns: int) -> bool:
        if not 0 < self._request.deadline_ns <= now_ns:
            return False
        self._end(DeadlineExceeded("The call's time ran out before its generation could begin; allow it longer."))
        return True

    def answered(self, frame: Frame) -> None:
        op, payload = frame.head.op, frame.head.payload
        if op in {Op.CHUNK, Op.END}:
            self._given = True
            chunk = _read_chunk(payload)
            if chunk.last:
                self._end(chunk)
            else:
                self._emit(chunk)
            return
        failure = _read_failure(payload)
        if failure.code == DRAINING and not self._given:
            self._pool.dispatch(self)
        else:
            self._end(failure.error())

    def lost(self) -> None:
        if self._given or self._repeated:
            self._end(Unavailable("The replica ended while it generated this answer; try again.", retry_after=1.0))
            return
        self._repeated = True
        self._pool.dispatch(self)

    def cancel(self) -> None:
        """Ends it early; the last chunk says CANCELLED."""
        if self._ended:
            return
        if self._link is not None and self._link.connected:
            self._link.cancel(self._number)
        else:
            self._pool.drop(self)
            self._end(TokenChunk(finish=FinishReason.CANCELLED, last=True))

    def _end(self, last: TokenChunk | ModelyardError) -> None:
        if not self._ended:
            self._ended = True
            self._pool.generated(self)
            self._emit(last)

"""What answers inside a replica's process: frames of any number of workers, one loaded model.

The event loop reads and writes; calls are computed by as many threads as the model can use, in the order in which they came. Needs
nothing but msgspec and NumPy, because it also runs in the environment that a user's model brought.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections import deque
from functools import partial

import msgspec

from modelyard.core.errors import Internal, ModelyardError, Unsupported
from modelyard.core.frames import (
    DRAINING,
    Ask,
    BadFrame,
    Buffer,
    Failure,
    Frame,
    Hello,
    Op,
    Ran,
    State,
    encode_frame,
    tensors_of,
)
from modelyard.core.generation import Cancel, GenerateRequest, TokenChunk
from modelyard.core.tensors import Array
from modelyard.core.unreadable import UNREADABLE
from modelyard.runtimes.base import GenerativeModel, LoadedModel
from modelyard.serving.replica import Outcome, Replica, Timing
from modelyard.serving.replicas.computing import Send, Threads, Work
from modelyard.serving.replicas.wire import DirectFrameProtocol

logger = logging.getLogger(__name__)
encode = msgspec.msgpack.encode
_read_request = msgspec.msgpack.Decoder(GenerateRequest).decode
_read_ask = msgspec.msgpack.Decoder(Ask).decode


class ReplicaServer:
    """Serves a model until it is drained. ``trial`` are inputs that it accepts; without any, its health is that it answers."""

    def __init__(self, model: LoadedModel, *, concurrency: int = 0, trial: dict[str, Array] | None = None) -> None:
        self._replica = Replica(model, Timing(0.0, 0.0))
        self._trial = trial
        count = concurrency or model.concurrency
        self._threads = Threads(count)
        self._model = model if isinstance(model, GenerativeModel) else None
        self._hello = encode(
            Hello(
                pid=os.getpid(),
                signature=model.signature,
                concurrency=count,
                repeatable=model.repeatable,
                generative=self._model is not None,
            )
        )
        self._links: set[_Link] = set()
        self._generated: deque[tuple[_Link, int, TokenChunk | ModelyardError]] = deque()
        self._handing = threading.Lock()
        """Held while something of it is sent, so that each call's chunks keep their order."""
        self._woken = False
        """Whether the loop is about to send what was generated."""
        if self._model is not None and self._model.tells_steps:
            self._model.stepped = self._hand_over
        self._counting = threading.Lock()
        self._idle = asyncio.Event()
        self.draining = False
        self.outstanding = 0
        self.answered = 0

    async def serve(self, listener: socket.socket) -> None:
        """Accepts workers from now on. Call it on the loop."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_unix_server(lambda: _Link(self), sock=listener)

    async def drain(self, timeout_s: float) -> None:
        """Takes no more calls, answers those that came, for so long at most, and frees the model."""
        with self._counting:
            self.draining = True
            if not self.outstanding:
                self._idle.set()
        for link in self._links:
            link.write(encode_frame(Op.DRAIN))
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            logger.warning("%d calls were cut off when the replica ended", self.outstanding)
        self._server.close()
        self._threads.close()
        for link in list(self._links):
            link.disconnect()
        await asyncio.sleep(0)  # what was written is sent before the loop ends

    def greet(self, link: _Link) -> None:
        self._links.add(link)
        link.write(encode_frame(Op.HELLO, payload=self._hello))
        if self.draining:
            link.write(encode_frame(Op.DRAIN))

    def part(self, link: _Link) -> None:
        self._links.discard(link)

    def infer(self, link: _Link, frame: Frame) -> None:
        """Queues a call for the model."""
        call, ask = frame.head.call, _read_ask(frame.head.payload)
        if self.draining:
            link.write(encode_frame(Op.ERROR, call, encode(Failure(DRAINING, "This replica ends."))))
            return
        inputs = tensors_of(frame)

        def compute() -> Send:
            if ask.tell:
                link.write(encode_frame(Op.BEGAN, call))
            began = time.perf_counter_ns()
            outcome = self._replica.compute(inputs, ask.outputs)
            return partial(self._answer, link, call, outcome, ask.outputs, (time.perf_counter_ns() - began) // 1000)

        link.computing[call] = work = Work(compute, promptly=ask.tell)
        self._submit(work)

    def _answer(self, link: _Link, call: int, outcome: Outcome, wanted: tuple[str, ...], taken_us: int) -> None:
        link.answer(call, self._encoded(call, outcome, wanted, taken_us))
        self._ended()

    def generate(self, link: _Link, frame: Frame) -> None:
        """Begins a generation; its chunks are sent as they come."""
        call, model = frame.head.call, self._model
        if model is None or self.draining:
            code = DRAINING if model is not None else Unsupported.code
            link.write(encode_frame(Op.ERROR, call, encode(Failure(code, "This replica does not generate."))))
            return
        try:
            request = _read_request(frame.head.payload)
        except UNREADABLE as error:
            raise BadFrame(f"A request cannot be read: {error}.") from None
        self._begun()

        def emit(item: TokenChunk | ModelyardError) -> None:
            self._generated.append((link, call, item))
            if not (model.tells_steps or self._woken):
                self._woken = True
                self._loop.call_soon_threadsafe(self._wake)

        with self._handing:  # its end is not handed over before its beginning is known
            link.generating[call] = model.generate(request, emit)
        if self._generated:
            self._hand_over()

    def _wake(self) -> None:
        self._woken = False  # first, so that what comes from now on wakes the loop again
        self._hand_over()

    def _hand_over(self) -> None:
        """Sends what was generated since the last time, at once to each worker; from any thread."""
        with self._handing:
            frames: dict[_Link, list[Buffer]] = {}
            while self._generated:
                link, call, item = self._generated.popleft()
                frames.setdefault(link, []).extend(_frame_of(call, item))
                if isinstance(item, ModelyardError) or item.last:
                    link.generating.pop(call, None)
                    self._ended()
            for link, parts in frames.items():
                link.write([b"".join(parts)])

    def health(self, link: _Link, frame: Frame) -> None:
        """Answers with the state; where asked, after the model has computed its trial behind all calls that wait."""
        call, trial = frame.head.call, self._trial
        if frame.head.payload != b"run" or trial is None or self.draining:
            link.write(encode_frame(Op.STATE, call, encode(State(self.outstanding, self.answered))))
            return

        def compute() -> Send:
            outcome = self._replica.compute(trial)
            failed = outcome.message if isinstance(outcome, ModelyardError) else ""
            link.write(encode_frame(Op.STATE, call, encode(State(self.outstanding - 1, self.answered, failed))))
            return self._ended

        self._submit(Work(compute))

    def cancelled(self) -> None:
        """A call that had not begun is computed no more."""
        self._ended(answered=0)

    def _submit(self, work: Work) -> None:
        self._begun()
        self._threads.submit(work)

    def _begun(self) -> None:
        with self._counting:
            self.outstanding += 1

    def _ended(self, answered: int = 1) -> None:
        """Called by whichever thread has answered: waking the loop for each call would take time from the model."""
        with self._counting:
            self.outstanding -= 1
            self.answered += answered
            idle = self.draining and not self.outstanding
        if idle:
            self._loop.call_soon_threadsafe(self._idle.set)

    def _encoded(self, call: int, outcome: Outcome, wanted: tuple[str, ...], taken_us: int) -> list[Buffer]:
        if isinstance(outcome, ModelyardError):
            return encode_frame(Op.ERROR, call, encode(Failure.of(outcome)))
        outputs = {name: outcome[name] for name in wanted} if wanted else outcome
        try:
            return encode_frame(Op.RESULT, call, encode(Ran(taken_us, self.outstanding - 1)), outputs)
        except (TypeError, ValueError, OverflowError):
            logger.exception("What the model gave cannot be sent")
            error = Internal("The model gave something that is no tensor; its deployment's log has the reason.")
            return encode_frame(Op.ERROR, call, encode(Failure.of(error)))


class _Link(DirectFrameProtocol):
    """A worker's connection."""

    def __init__(self, server: ReplicaServer) -> None:
        super().__init__()
        self._server = server
        self.computing: dict[int, Work] = {}
        self.generating: dict[int, Cancel] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.greet(self)

    def received(self, frame: Frame) -> None:
        op = frame.head.op
        if op == Op.INFER:
            self._server.infer(self, frame)
        elif op == Op.GENERATE:
            self._server.generate(self, frame)
        elif op == Op.CANCEL:
            self._cancel(frame.head.call)
        elif op == Op.HEALTH:
            self._server.health(self, frame)
        else:
            raise BadFrame(f"A replica was sent a frame of kind {op}.")

    def answer(self, call: int, parts: list[Buffer]) -> None:
        """The last frame of a call; from any thread."""
        self.computing.pop(call, None)
        self.write(parts)

    def lost(self) -> None:
        """The worker is gone, and whoever waited with it."""
        for call in [*self.computing, *self.generating]:
            self._cancel(call)
        self._server.part(self)

    def _cancel(self, call: int) -> None:
        cancel = self.generating.get(call)
        if cancel is not None:
            cancel()  # its last chunk still comes
            return
        work = self.computing.pop(call, None)
        if work is not None and work.take():
            self._server.cancelled()
            self.write(encode_frame(Op.ERROR, call, encode(Failure(DRAINING, "The call was cancelled."))))


def _frame_of(call: int, item: TokenChunk | ModelyardError) -> list[Buffer]:
    if isinstance(item, ModelyardError):
        return encode_frame(Op.ERROR, call, encode(Failure.of(item)))
    return encode_frame(Op.END if item.last else Op.CHUNK, call, encode(item))

"""The threads of a replica: what waits is computed in the order in which it came, and an answer leaves while the next one is computed.

Handing an answer to the system takes about as long as making it ready, and wakes whoever waits for it, who may take the model's core;
so the model goes on first wherever something waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from modelyard.core.errors import ModelyardError
from modelyard.runtimes.edge import attempt

Send = Callable[[], None]
"""Lets an answer go."""
MOST_UNSENT = 4
"""Answers that may wait to be sent; the next is sent by the thread that computed it."""


class Work:
    """Something to compute, once. ``compute`` gives what lets its answer go."""

    __slots__ = ("_turn", "compute", "promptly")

    def __init__(self, compute: Callable[[], Send], *, promptly: bool = False) -> None:
        self.compute = compute
        self.promptly = promptly
        """Whether its answer goes before anything else is begun."""
        self._turn = threading.Lock()

    def take(self) -> bool:
        """Whether it is the caller's to compute, or to leave; true once."""
        return self._turn.acquire(blocking=False)


class Threads:
    """``count`` threads that compute, and one that sends."""

    def __init__(self, count: int) -> None:
        self._waiting: SimpleQueue[Work | None] = SimpleQueue()
        self._unsent: SimpleQueue[Send | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._compute, name=f"compute_{number}", daemon=True).start()
        threading.Thread(target=self._send, name="send", daemon=True).start()

    def submit(self, work: Work) -> None:
        """Queues work; from any thread."""
        self._waiting.put(work)

    def close(self) -> None:
        """Ends the threads once what was queued is computed and sent."""
        for _ in range(self._count):
            self._waiting.put(None)

    def _compute(self) -> None:
        waiting, unsent = self._waiting, self._unsent
        while (work := waiting.get()) is not None:
            if not work.take():
                continue
            send = attempt(work.compute)
            if isinstance(send, ModelyardError):
                continue  # what computes answers for its own errors; this one is logged
            if work.promptly or waiting.empty() or unsent.qsize() >= MOST_UNSENT:
                attempt(send)
            else:
                unsent.put(send)
            del work, send  # or they would keep their tensors until the next call comes
        unsent.put(None)

    def _send(self) -> None:
        left = self._count
        while left:
            send = self._unsent.get()
            if send is None:
                left -= 1
            else:
                attempt(send)
            del send

"""Calls that arrive in one turn of the event loop run as one batch; what is slow runs in threads, and gathers meanwhile.

There is no timer: a batch is flushed by the loop itself as soon as all that has arrived is read. While a replica's threads are
busy, calls wait and the next batch is larger, so batches grow with the load and vanish with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from modelyard.core.errors import DeadlineExceeded, ModelyardError, Unavailable
from modelyard.core.inference import InferResponse
from modelyard.core.models import Profile
from modelyard.core.signature import Signature
from modelyard.serving.replica import Outcome, Replica, Waiting, may_batch


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How calls are joined and where they run."""

    max_rows: int = 64
    """Most rows of a shared run; a single call may have more."""
    max_waiting: int = 4096
    """Calls that may wait for one version; more are refused."""
    inline_us: float = 1000.0
    """Runs expected to take longer leave the event loop for a thread."""
    concurrent: int = 2
    """Runs of one version in threads at once."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What answers say of the version that computed them."""

    model: str
    number: int
    version_id: int
    signature: Signature


Result = tuple[list[Outcome], int]


class Batcher:
    """The way into one replica. Belongs to the event loop; only ``Replica.run`` leaves it."""

    def __init__(
        self,
        replica: Replica,
        identity: Identity,
        profile: Profile,
        *,
        executor: Executor,
        options: BatchOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._replica = replica
        self._identity = identity
        self._executor = executor
        self._options = options
        self._loop = loop
        self._shared = profile.row_independent and may_batch(replica.signature)
        self._inline_us = options.inline_us if profile.inline else -1.0
        self._queues: dict[object, deque[Waiting]] = {}
        self._waiting = 0
        self._busy = 0
        self._scheduled = False
        self._retired: Callable[[Replica], None] | None = None

    def submit(self, call: Waiting) -> None:
        """Takes a call, whose ``done`` is called in a later turn of the loop; raises Unavailable when too many wait."""
        if self._waiting >= self._options.max_waiting:
            raise Unavailable("Too many calls wait for this deployment; try again shortly.", retry_after=1.0)
        key = self._key(call)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(call)
        self._waiting += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def retire(self, closed: Callable[[Replica], None]) -> None:
        """Calls ``closed`` once the last call is answered; none may be submitted after this."""
        self._retired = closed
        self._close_if_idle()

    def _key(self, call: Waiting) -> object:
        """Calls of equal keys may share a run."""
        if self._replica.uniform or not self._shared:
            return None
        return tuple([(name, array.shape[1:]) for name, array in call.inputs.items()])

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and self._busy < self._options.concurrent:
            batch, size = self._take()
            if not batch:
                continue
            if self._replica.estimate_us(size) <= self._inline_us:
                began_ns = time.monotonic_ns()
                self._finish(batch, size, began_ns, self._replica.run(batch))
            else:
                self._start(batch, size)
        self._close_if_idle()

    def _take(self) -> tuple[list[Waiting], int]:
        """The next batch and its size; may be empty, when nobody waits for those calls any more."""
        key, queue = next(iter(self._queues.items()))
        batch: list[Waiting] = []
        rows, most = 0, self._options.max_rows if self._shared else 1
        now_ns = time.monotonic_ns()
        while queue and rows < most:
            call = queue[0]
            if batch and (rows + call.rows > most or not self._shared):
                break
            queue.popleft()
            self._waiting -= 1
            if 0 < call.request.deadline_ns <= now_ns:
                self._refuse(call, now_ns)
                continue
            batch.append(call)
            rows += call.rows
            if not self._shared:
                break
        # Other shapes have their turn before the rest of these.
        del self._queues[key]
        if queue:
            self._queues[key] = queue
        if self._replica.uniform:
            return batch, rows
        return batch, sum([self._replica.size(call.inputs, call.rows) for call in batch])

    def _start(self, batch: list[Waiting], size: int) -> None:
        self._busy += 1
        began_ns = time.monotonic_ns()

        def ended(future: Future[Result]) -> None:
            self._loop.call_soon_threadsafe(self._ended, batch, size, began_ns, future)

        self._executor.submit(self._replica.run, batch).add_done_callback(ended)

    def _ended(self, batch: list[Waiting], size: int, began_ns: int, future: Future[Result]) -> None:
        self._busy -= 1
        self._finish(batch, size, began_ns, future.result())
        self._flush()

    def _finish(self, batch: list[Waiting], size: int, began_ns: int, result: Result) -> None:
        outcomes, taken_us = result
        self._replica.learn(size, taken_us)
        identity = self._identity
        ended_ns = time.monotonic_ns()
        rows = sum([call.rows for call in batch]) or 1
        part = 1.0 / len(batch)
        wall_ns = time.time_ns()
        for call, outcome in zip(batch, outcomes, strict=True):
            statistics = call.statistics
            if isinstance(outcome, ModelyardError):
                statistics.failure((ended_ns - call.arrived_ns) // 1000)
                call.done(outcome)
                continue
            queue_us = (began_ns - call.arrived_ns) // 1000
            share_us = round(taken_us * call.rows / rows)
            statistics.success(call.rows, queue_us, taken_us, (ended_ns - call.arrived_ns) // 1000)
            statistics.executions += part
            statistics.shared_us += share_us
            statistics.last_ns = wall_ns
            call.done(
                InferResponse(
                    outcome, identity.model, identity.number, identity.version_id, call.rows, queue_us, share_us, identity.signature
                )
            )

    def _refuse(self, call: Waiting, now_ns: int) -> None:
        call.statistics.failure((now_ns - call.arrived_ns) // 1000)
        call.done(DeadlineExceeded("The call's time ran out before it could be computed; allow it longer, or send less at once."))

    def _close_if_idle(self) -> None:
        closed = self._retired
        if closed is not None and not self._waiting and not self._busy:
            self._retired = None
            closed(self._replica)

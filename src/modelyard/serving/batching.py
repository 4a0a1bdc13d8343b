"""Calls that arrive in one turn of the event loop run as one batch; what is slow runs in threads, and gathers meanwhile.

There is no timer: a batch is flushed by the loop itself as soon as all that has arrived is read. While a replica's threads are
busy, calls wait and the next batch is larger, so batches grow with the load and vanish with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol

from modelyard.core.errors import DeadlineExceeded, ModelyardError, Unavailable
from modelyard.core.generation import Cancel, Emit, GenerateRequest
from modelyard.core.inference import InferResponse
from modelyard.core.models import Profile
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array
from modelyard.serving.replica import Outcome, Result, Waiting, may_batch
from modelyard.serving.statistics import CallStatistics

_LEARN: Final = 0.2
"""Weight of the last run in their mean time."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How calls are joined and where they run."""

    max_rows: int = 64
    """Most rows of a shared run; a single call may have more."""
    max_waiting: int = 4096
    """Calls that may wait for one version; more are refused."""
    inline_us: float = 1000.0
    """Runs expected to take longer leave the event loop for a thread."""
    concurrent: int = 1
    """Runs of one version in threads at once. Where the workers fill the machine's cores, a second one only slows the first down."""


class Identity(NamedTuple):
    """What answers say of the version that computed them."""

    model: str
    number: int
    version_id: int
    signature: Signature


class Runs(Protocol):
    """What a batcher needs of whatever computes: a ``Replica`` in this process, or a ``RemoteReplica``."""

    signature: Signature
    uniform: bool

    @property
    def refusal(self) -> ModelyardError | None:
        """Why calls that cannot be begun now should not wait; None lets them wait."""

    def concurrent(self, most: int) -> int:
        """How many runs may be under way; ``most`` of them where they share this process's threads."""

    def size(self, inputs: dict[str, Array], rows: int) -> int:
        """A call's size in the units of what is learnt."""

    def learn(self, size: int, taken_us: float) -> None:
        """Takes how long a run of this size took."""

    def begin(
        self, batch: list[Waiting], size: int, inline_us: float, executor: Executor, ended: Callable[[Result], None]
    ) -> Result | None:
        """Runs a batch: at once where that is expected to take no longer than ``inline_us``, otherwise elsewhere; then ``ended`` is
        called on the event loop.
        """

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        """Begins a generation as ``GenerativeModel.generate`` does, with all of it on the event loop; raises Unsupported."""

    def close(self) -> None:
        """Lets go of what it holds; nothing runs any more."""


class Batcher:
    """The way into one version. Belongs to the event loop; only what the replica does elsewhere leaves it."""

    def __init__(
        self,
        replica: Runs,
        identity: Identity,
        profile: Profile,
        *,
        executor: Executor,
        options: BatchOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.replica = replica
        self._identity = identity
        self.executor = executor
        """Where runs go that leave the event loop; its way in says whose they are."""
        self._options = options
        self._loop = loop
        self.most_rows = options.max_rows
        """Most rows of a shared run now; whoever keeps an objective sets it."""
        self._shared = profile.row_independent and may_batch(replica.signature)
        self._inline_us = options.inline_us if profile.inline else -1.0
        self._keyed = self._shared and not replica.uniform
        """Whether only calls of equal shapes may share a run."""
        self._line: deque[Waiting] = deque()
        self._queues: dict[object, deque[Waiting]] = {}
        """Where shapes matter: calls by their shapes."""
        self._waiting = 0
        self._busy = 0
        self._run_us = self._last_us = 0.0
        """How long runs elsewhere took lately, and the last one."""
        self._call_rows = 1.0
        """Rows of a call in the last of these."""
        self._scheduled = False
        self._retired: Callable[[Runs], None] | None = None

    def submit(self, call: Waiting) -> None:
        """As ``put``, and raises Unavailable also where the call would wait in vain."""
        if self._busy and self._waiting and call.request.deadline_ns:
            self._foresee(call.request.deadline_ns)
        self.put(call)

    def put(self, call: Waiting) -> None:
        """Takes a call, whose ``done`` is called in a later turn of the loop; raises Unavailable when too many wait."""
        if self._waiting >= self._options.max_waiting:
            raise Unavailable("Too many calls wait for this deployment; try again shortly.", retry_after=1.0)
        if self._keyed:
            self._queues.setdefault(_key(call), deque()).append(call)
        else:
            self._line.append(call)
        self._waiting += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def _foresee(self, deadline_ns: int) -> None:
        """Refuses a call whose time would run out while it waits, as runs go now; what is not sure is tried."""
        runs = self._waiting * self._call_rows / self.most_rows if self._shared else float(self._waiting)
        wait_us = runs * min(self._run_us, self._last_us) / self._busy
        if 0 < (deadline_ns - time.monotonic_ns()) / 1000 < wait_us:
            raise Unavailable(
                f"{self._waiting} calls are before this one, which take about {wait_us / 1000:.0f} ms, longer than it may wait; try again"
                " shortly.",
                retry_after=wait_us / 1e6,
            )

    def retire(self, closed: Callable[[Runs], None]) -> None:
        """Calls ``closed`` once the last call is answered; none may be submitted after this."""
        self._retired = closed
        self._close_if_idle()

    def flush(self) -> None:
        """Begins what can be begun; called by the loop, and when the replica has room again."""
        self._scheduled = False
        replica = self.replica
        while self._waiting and self._busy < replica.concurrent(self._options.concurrent):
            batch, size = self._take()
            if not batch:
                continue
            self._busy += 1
            began_ns = time.monotonic_ns()
            result = replica.begin(batch, size, self._inline_us, self.executor, partial(self._ended, batch, size, began_ns))
            if result is not None:
                self._busy -= 1
                self._finish(batch, size, began_ns, result)
        if self._waiting and replica.refusal is not None:
            self.sweep(time.monotonic_ns(), replica.refusal)
        self._close_if_idle()

    @property
    def waiting(self) -> int:
        """Calls that are not begun yet."""
        return self._waiting

    @property
    def full_run(self) -> int:
        """Calls of one row that one run can answer."""
        return self.most_rows if self._shared else 1

    def sweep(self, now_ns: int, refusal: ModelyardError | None = None) -> None:
        """Answers calls that wait in vain: those whose time has run out, or with a ``refusal`` all."""
        for queue in [self._line, *self._queues.values()]:
            kept = [call for call in queue if refusal is None and not 0 < call.request.deadline_ns <= now_ns]
            if len(kept) == len(queue):
                continue
            gone = [call for call in queue if refusal is not None or 0 < call.request.deadline_ns <= now_ns]
            queue.clear()
            queue.extend(kept)
            self._waiting -= len(gone)
            for call in gone:
                self._refuse(call, now_ns, refusal)
        self._queues = {key: queue for key, queue in self._queues.items() if queue}
        self._close_if_idle()

    def _take(self) -> tuple[list[Waiting], int]:
        """The next batch and its size; may be empty, when nobody waits for those calls any more."""
        queue = next(iter(self._queues.values())) if self._keyed else self._line
        batch: list[Waiting] = []
        rows, most = 0, self.most_rows if self._shared else 1
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
        if self._keyed:
            # Other shapes have their turn before the rest of these.
            key = next(iter(self._queues))
            del self._queues[key]
            if queue:
                self._queues[key] = queue
        if self.replica.uniform:
            return batch, rows
        return batch, sum([self.replica.size(call.inputs, call.rows) for call in batch])

    def _ended(self, batch: list[Waiting], size: int, began_ns: int, result: Result) -> None:
        self._busy -= 1
        self._last_us = float(result.taken_us)
        self._run_us += _LEARN * (self._last_us - self._run_us) if self._run_us else self._last_us
        self._call_rows = sum([call.rows for call in batch]) / len(batch)
        # A run may have waited for its turn elsewhere.
        self._finish(batch, size, max(began_ns, time.monotonic_ns() - result.taken_us * 1000), result)
        self.flush()

    def _finish(self, batch: list[Waiting], size: int, began_ns: int, result: Result) -> None:
        outcomes, taken_us, computed_us = result
        self.replica.learn(size, computed_us)
        ended_ns = time.monotonic_ns()
        rows = sum([call.rows for call in batch])
        row_us = taken_us / (rows or 1)
        self._count(batch, outcomes, began_ns, ended_ns, row_us)
        model, number, version_id, signature = self._identity
        for call, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, ModelyardError):
                call.done(outcome)
                continue
            share_us = int(row_us * call.rows + 0.5) if rows else taken_us
            queue_us = (began_ns - call.arrived_ns) // 1000
            call.done(InferResponse(outcome, model, number, version_id, call.rows, queue_us, share_us, signature))

    def _count(self, batch: list[Waiting], outcomes: list[Outcome], began_ns: int, ended_ns: int, row_us: float) -> None:
        """Counts the calls of a run; those of one deployment that follow each other, mostly all, are counted at once."""
        statistics = batch[0].statistics
        count = rows = arrived_ns = 0
        for call, outcome in zip(batch, outcomes, strict=True):
            if call.statistics is not statistics:
                _add(statistics, count, (rows, arrived_ns, began_ns, ended_ns), row_us, len(batch))
                statistics = call.statistics
                count = rows = arrived_ns = 0
            if isinstance(outcome, ModelyardError):
                statistics.failure((ended_ns - call.arrived_ns) // 1000)
            else:
                count += 1
                rows += call.rows
                arrived_ns += call.arrived_ns
        _add(statistics, count, (rows, arrived_ns, began_ns, ended_ns), row_us, len(batch))

    def _refuse(self, call: Waiting, now_ns: int, error: ModelyardError | None = None) -> None:
        call.statistics.failure((now_ns - call.arrived_ns) // 1000)
        late = "The call's time ran out before it could be computed; allow it longer, or send less at once."
        call.done(error or DeadlineExceeded(late))

    def _close_if_idle(self) -> None:
        closed = self._retired
        if closed is not None and not self._waiting and not self._busy:
            self._retired = None
            closed(self.replica)


def _add(statistics: CallStatistics, count: int, sums: tuple[int, int, int, int], row_us: float, size: int) -> None:
    if count:
        statistics.success(count, *sums)
        statistics.executions += count / size
        statistics.shared_us += int(row_us * sums[0] + 0.5)


def _key(call: Waiting) -> object:
    """Calls of equal keys may share a run."""
    return tuple([(name, array.shape[1:]) for name, array in call.inputs.items()])

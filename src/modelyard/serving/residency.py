"""Versions in a worker's memory under a budget: the least recently used leave it, and the next call brings them back.

A version out of memory stays served. Its calls wait in its batcher, as those of a version whose replicas start do, while a thread loads
it; each keeps its own deadline. Only a version that computes nothing now can leave, so the budget may be exceeded while all are busy.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Protocol

from modelyard.core.deployments import ServedVersion
from modelyard.core.errors import ModelyardError, Unsupported
from modelyard.core.generation import Cancel, Emit, GenerateRequest
from modelyard.core.tensors import Array
from modelyard.serving.loading import unload
from modelyard.serving.replica import Replica, Result, Waiting, rows_are_alike

logger = logging.getLogger(__name__)
SWEEP_S = 0.05
"""How often calls that wait for a load are looked through for those whose time has run out."""
RETRY_S = 5.0
"""How long a version that could not be loaded again refuses calls before another try."""


class Holder(Protocol):
    """Where calls of a version wait; see ``batching.Batcher``."""

    def flush(self) -> None:
        """Begins what can be begun, or refuses what cannot."""

    def sweep(self, now_ns: int, refusal: ModelyardError | None = None) -> None:
        """Answers calls whose time has run out."""


class Resident:
    """A version that may be in memory or not; what a batcher needs (``batching.Runs``). Belongs to the event loop."""

    def __init__(self, version: ServedVersion, replica: Replica, residency: Residency) -> None:
        self.version = version
        self.signature = version.signature
        self.uniform = rows_are_alike(version.signature)
        self.replica: Replica | None = replica
        self.holder: Holder | None = None
        self.refusal: ModelyardError | None = None
        self.running = 0
        self.used = 0.0
        self.closed = self.wanted = False
        self._residency = residency

    @property
    def cost(self) -> int:
        """Bytes that it takes when it is in memory: what its trial took, or the size of its files."""
        return max(self.version.profile.memory_bytes, self.version.artifact.size)

    def concurrent(self, most: int) -> int:
        """None while it is out of memory; asking brings it back."""
        if self.replica is None:
            self._residency.want(self)
            return 0
        return most

    def size(self, inputs: dict[str, Array], rows: int) -> int:
        return rows if self.uniform else sum([array.size for array in inputs.values()])

    def learn(self, size: int, taken_us: float) -> None:
        if self.replica is not None:
            self.replica.learn(size, taken_us)

    def begin(
        self, batch: list[Waiting], size: int, inline_us: float, executor: Executor, ended: Callable[[Result], None]
    ) -> Result | None:
        replica = self.replica
        if replica is None:
            raise RuntimeError("A version out of memory was to compute.")
        self.used = time.monotonic()
        self.running += 1

        def done(result: Result) -> None:
            self.running -= 1
            ended(result)
            self._residency.settle()

        result = replica.begin(batch, size, inline_us, executor, done)
        if result is not None:
            self.running -= 1
        return result

    def generate(self, _request: GenerateRequest, _emit: Emit) -> Cancel:
        # Models that generate are never loaded into a worker.
        raise Unsupported("This version runs inside workers, where nothing generates text; call it with its inputs.")

    def close(self) -> None:
        """It is not served any more."""
        self.closed = True
        self._residency.leave(self)


def in_memory(replica: object) -> bool:
    """Whether what a batcher runs is in memory, or runs elsewhere."""
    return not isinstance(replica, Resident) or replica.replica is not None


class Residency:
    """One worker's memory for versions. Loading and unloading run in ``thread``, one after the other; the rest on the event loop."""

    def __init__(self, budget: int, load: Callable[[ServedVersion], Replica], thread: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self._budget, self._load, self._thread, self._loop = budget, load, thread, loop
        self._members: set[Resident] = set()
        self._sweeping = False

    def admit(self, version: ServedVersion, replica: Replica) -> Resident:
        """A version that was just loaded; others may have to leave for it."""
        resident = Resident(version, replica, self)
        resident.used = time.monotonic()
        self._members.add(resident)
        self.settle()
        return resident

    def want(self, resident: Resident) -> None:
        """Has it loaded, unless that is under way, or has just failed."""
        if resident.wanted or resident.refusal is not None or resident.closed:
            return
        resident.wanted = True
        resident.used = time.monotonic()
        self.settle(resident.cost)
        self._thread.submit(self._load, resident.version).add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._loaded, resident, done)
        )
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)

    def leave(self, resident: Resident) -> None:
        """Forgets a version that is not served any more."""
        self._members.discard(resident)
        self._release(resident)

    def settle(self, coming: int = 0) -> None:
        """Lets the least recently used leave until the rest, and ``coming`` bytes, fit the budget."""
        inside = sorted((each for each in self._members if each.replica is not None), key=lambda each: each.used)
        total = coming + sum(each.cost for each in inside)
        newest = inside[-1] if inside and not coming else None
        for resident in inside:
            if total <= self._budget:
                break
            if not resident.running and resident is not newest:
                total -= resident.cost
                self._release(resident)

    def _release(self, resident: Resident) -> None:
        replica, resident.replica = resident.replica, None
        if replica is not None:
            self._thread.submit(unload, replica)

    def _loaded(self, resident: Resident, done: Future[Replica]) -> None:
        resident.wanted = False
        error = done.exception()
        if error is None:
            resident.replica = done.result()
            resident.used = time.monotonic()
            if resident.closed:
                self._release(resident)
            self.settle()
        elif isinstance(error, ModelyardError):
            logger.warning("Cannot load %s@%d again: %s", resident.version.model, resident.version.number, error.message)
            resident.refusal = error
            self._loop.call_later(RETRY_S, lambda: self._forgive(resident))
        else:
            raise error
        if resident.holder is not None:
            resident.holder.flush()

    def _forgive(self, resident: Resident) -> None:
        resident.refusal = None

    def _sweep(self) -> None:
        loading = [each for each in self._members if each.wanted]
        self._sweeping = bool(loading)
        for resident in loading:
            if resident.holder is not None:
                resident.holder.sweep(time.monotonic_ns())
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)

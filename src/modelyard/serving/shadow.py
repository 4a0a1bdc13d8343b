"""A shadow: copies of calls for another version, computed after the callers are answered, compared, and never felt by anybody.

A copy is queued when its call has been answered. The queue is short and drops what it has no room for. Copies run a few at a time
with a pause after each run: short while nothing else waits, and four times as long as the run while calls do, so that under load a
shadow has at most a fifth of a worker.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.policy import Shadow
from modelyard.core.rollout import ShadowTally
from modelyard.core.tensors import Array
from modelyard.serving.batching import Batcher
from modelyard.serving.replica import Waiting
from modelyard.serving.router import Lane, Submit, is_pin
from modelyard.serving.tallies import Later

RUN = 16
"""Copies that are computed at once."""
REST = 4
"""How many times as long as its last run a shadow rests while calls wait."""
Record = Callable[[InferResponse], None]
"""Notes in the journal what a copy used."""


class _Copy(NamedTuple):
    inputs: dict[str, Array]
    answer: InferResponse


class ShadowLane:
    """Copies of one deployment's calls for one version. Belongs to the event loop."""

    def __init__(self, wanted: Shadow, lane: Lane, tally: ShadowTally, later: Later, record: Record) -> None:
        self._wanted, self._lane, self._tally, self._later, self._record = wanted, lane, tally, later, record
        self._share = wanted.percent / 100
        # Which calls are copied matters to nobody; seeded, so that tests repeat.
        self._random = random.Random(lane.version.id).random  # noqa: S311
        self._queue: deque[_Copy] = deque()
        self._running = 0
        self._awake = self._stopped = False
        self._began = 0.0
        self._busy: list[Batcher] = []

    def behind(self, submit: Submit, batcher: Batcher) -> Submit:
        """``submit``, with copies of what it answers; ``batcher`` is where its calls wait."""
        self._busy.append(batcher)

        def shadowed(call: Waiting) -> None:
            version = call.request.version
            if (version and not is_pin(version)) or self._random() >= self._share:
                submit(call)
                return
            done = call.done

            def ended(outcome: Any) -> None:
                call.done = done  # or call and closure would hold each other
                done(outcome)
                if isinstance(outcome, InferResponse):
                    self._enqueue(_Copy(call.inputs, outcome))

            call.done = ended
            submit(call)

        return shadowed

    def stop(self) -> None:
        """No copy begins any more."""
        self._stopped = True
        self._queue.clear()

    def _enqueue(self, copy: _Copy) -> None:
        if self._stopped:
            return
        if len(self._queue) >= self._wanted.queue:
            self._tally.dropped += 1
            return
        self._queue.append(copy)
        self._wake(0.0)

    def _wake(self, seconds: float) -> None:
        if not self._awake and not self._running:
            self._awake = True
            self._later(seconds, self._run)

    def _run(self) -> None:
        self._awake = False
        self._began = time.monotonic()
        copies = [self._queue.popleft() for _ in range(min(RUN, len(self._queue)))]
        self._running = len(copies)
        for copy in copies:
            self._start(copy)

    def _start(self, copy: _Copy) -> None:
        arrived_ns = time.monotonic_ns()

        def ended(outcome: InferResponse | ModelyardError) -> None:
            self._compare(copy, outcome, (time.monotonic_ns() - arrived_ns) / 1000)
            self._ended()

        request = InferRequest(copy.inputs)
        try:
            rows = self._lane.check.rows(copy.inputs)
            self._lane.batcher.submit(Waiting(copy.inputs, (), rows, arrived_ns, request, self._lane.statistics, ended))
        except ModelyardError as error:
            ended(error)

    def _ended(self) -> None:
        self._running -= 1
        if not self._running and self._queue:
            taken = time.monotonic() - self._began
            self._wake(REST * taken if any(batcher.waiting for batcher in self._busy) else 0.0)

    def _compare(self, copy: _Copy, outcome: InferResponse | ModelyardError, taken_us: float) -> None:
        tally = self._tally
        if not isinstance(outcome, InferResponse):
            if not isinstance(outcome, InvalidRequest):
                tally.failed()
            return
        tally.answered(taken_us)
        self._record(outcome)
        agreed, worst = agreement(copy.answer.outputs, outcome.outputs, self._wanted.outputs, self._wanted.tolerance)
        tally.rows += len(agreed)
        tally.agreed += int(np.count_nonzero(agreed))
        tally.worst = max(tally.worst, worst)


def agreement(ours: Mapping[str, Array], theirs: Mapping[str, Array], wanted: tuple[str, ...], tolerance: float) -> tuple[Array, float]:
    """Of each row whether every compared output agrees, and the largest difference of numbers.

    Only outputs that both gave are compared; where shapes differ, no row agrees. NaN agrees with NaN.
    """
    names = [name for name in (wanted or ours) if name in ours and name in theirs]
    first = next((ours[name] for name in names), None)
    rows = first.shape[0] if first is not None and first.ndim else 1
    agreed = np.ones(rows, np.bool_)
    worst = 0.0
    for name in names:
        a, b = ours[name], theirs[name]
        if a.shape != b.shape or (a.ndim and a.shape[0] != rows):
            return np.zeros(rows, np.bool_), worst
        same, difference = _same(a, b, tolerance)
        worst = max(worst, difference)
        agreed &= same.reshape(rows, -1).all(axis=1)
    return agreed, worst


def _same(a: Array, b: Array, tolerance: float) -> tuple[Array, float]:
    if a.dtype.kind not in "fc" or b.dtype.kind not in "fc":
        return np.asarray(a == b), 0.0
    with np.errstate(invalid="ignore"):
        same = np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
        differences = np.abs(a.astype(np.float64) - b.astype(np.float64))
    finite = differences[np.isfinite(differences)]
    return same, float(finite.max(initial=0.0))

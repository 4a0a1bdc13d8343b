"""Refusing early what would be answered too late, and batches no larger than a latency objective allows.

How many calls may be inside at once is found out and not computed: while calls are answered well within the objective one more is let
in now and then, and when one is answered late a fifth fewer are (additive increase, multiplicative decrease: Chiu and Jain 1989).
That takes in waiting, batching, other versions and the machine's other work alike. One full run may always be inside: by the clock it
takes at most half the objective, and fewer calls would not be answered sooner when it is refusals that keep the event loop busy. A
prediction from the time between answers was tried: with few calls inside nothing is batched, so the time looked long, and it let in few
for ever.

Three things keep overload from eating what it leaves: a call that cannot be let in is refused before its limits are looked at and its
body is decoded (``turn_away``); one that has waited too long is refused instead of computed for nobody; and the time that the event loop
lags behind counts as part of every answer, because callers feel it and a clock started at a call's arrival does not see it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from modelyard.core.errors import DeadlineExceeded, Unavailable
from modelyard.serving.batching import Batcher
from modelyard.serving.replica import Replica, Waiting
from modelyard.serving.router import Lane, Submit

FIRST = 8.0
"""Calls that are let in before anything is known."""
ROOM, LATE = 0.55, 0.8
"""Of the objective: what is answered sooner makes room for more, what is answered later for fewer."""
CUT = 0.8
LEARN = 0.1
"""Weight of the last call in the mean."""
MOST_ROWS = 1024
BATCH_BYTES = 64 << 20
"""What the inputs of one run may take."""
SHARE = 0.4
"""Of the objective, for the run alone: a call waits for one run to end and then for its own."""
START = 0.75
"""Of the objective: what has not begun to be computed by then would be late."""
TICK_S = 0.02
STRETCH = 8.0
"""The most that a run is taken to last longer than it computes."""


class LoopLag:
    """How far behind the event loop is: by how much something that it was to do at a time came later, lately at worst."""

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        self.seconds = 0.0
        self._later = later
        self._due = 0.0

    def watch(self) -> None:
        """Begins to look, once."""
        if not self._due:
            self._plan()

    def _plan(self) -> None:
        self._due = time.monotonic() + TICK_S
        self._later(TICK_S, self._look)

    def _look(self) -> None:
        # A timer of the loop may be a millisecond late by itself.
        self.seconds = max(time.monotonic() - self._due - 0.002, 0.8 * self.seconds, 0.0)
        self._plan()


class Pace:
    """How many calls one version can have inside at once. Belongs to the event loop."""

    def __init__(self) -> None:
        self.inside = 0
        """Calls that are not answered yet."""
        self.limit = FIRST
        """How many there may be."""
        self.mean_s = 0.0
        """From taking a call to its answer, lately."""
        self._cut_at = 0.0

    def leave(self, taken_s: float, objective_s: float) -> None:
        """Counts a call out that took so long."""
        self.mean_s = taken_s if not self.mean_s else self.mean_s + LEARN * (taken_s - self.mean_s)
        now = time.monotonic()
        if taken_s > LATE * objective_s:
            # Calls that were let in before the last cut say nothing of what it did.
            if now - taken_s >= self._cut_at:
                self.limit, self._cut_at = max(1.0, self.limit * CUT), now
        elif taken_s < ROOM * objective_s and 2 * self.inside > self.limit:
            self.limit += 1 / self.limit
        self.inside -= 1


class Overload:
    """Keeps one version's calls within an objective."""

    def __init__(self, objective_ms: float, batcher: Batcher, pace: Pace, lag: LoopLag) -> None:
        self._objective_s = objective_ms / 1000
        self._batcher, self._pace, self._lag = batcher, pace, lag
        self._until_fit = 0
        lag.watch()

    @property
    def full(self) -> bool:
        """Whether another call would be late."""
        pace = self._pace
        return pace.inside >= pace.limit and pace.inside >= self._batcher.full_run

    def refusal(self) -> Unavailable:
        """What a call hears that would be late."""
        pace = self._pace
        return Unavailable(
            f"{pace.inside} calls are before this one, as many as can be answered within the deployment's objective of"
            f" {self._objective_s * 1000:g} ms; try again shortly.",
            retry_after=pace.mean_s,
        )

    def before(self, submit: Submit) -> Submit:
        """``submit``, for calls that will be answered within the objective and their own time."""
        pace, lag = self._pace, self._lag

        def admitted(call: Waiting) -> None:
            if self.full:
                raise self.refusal()
            given_ns = call.request.deadline_ns
            if given_ns and pace.inside and pace.mean_s > (given_ns - time.monotonic_ns()) / 1e9:
                raise Unavailable(
                    f"This call would take about {pace.mean_s * 1000:.0f} ms, longer than the time it allows; try again shortly.",
                    retry_after=pace.mean_s,
                )
            latest_ns = self._begin_by(call)
            done = call.done

            def ended(outcome: Any) -> None:
                call.done = done  # or call and closure would hold each other
                pace.leave((time.monotonic_ns() - call.arrived_ns) / 1e9 + lag.seconds, self._objective_s)
                self._fit(call)
                if latest_ns and isinstance(outcome, DeadlineExceeded) and call.request.deadline_ns == latest_ns:
                    outcome = self.refusal()
                done(outcome)

            call.done = ended
            pace.inside += 1
            try:
                submit(call)
            except Unavailable:
                call.done = done
                pace.inside -= 1
                raise

        return admitted

    def _begin_by(self, call: Waiting) -> int:
        """Lets the call expire where it has not begun in time to be answered within the objective; the time, 0 where it may not expire.

        What runs elsewhere would be ended in the middle by that, and what is out of memory is worth waiting for.
        """
        if not isinstance(self._batcher.replica, Replica) or not self._pace.inside:
            return 0
        latest_ns = call.arrived_ns + int(START * self._objective_s * 1e9)
        given_ns = call.request.deadline_ns
        if 0 < given_ns <= latest_ns:
            return 0
        call.request.deadline_ns = latest_ns
        return latest_ns

    def _fit(self, call: Waiting) -> None:
        """Now and then sets the largest batch from what runs have taken."""
        self._until_fit -= 1
        replica = self._batcher.replica
        if self._until_fit > 0 or not isinstance(replica, Replica) or not call.rows:
            return
        self._until_fit = 32
        row_bytes = sum([array.nbytes for array in call.inputs.values()]) / call.rows
        cap = int(min(MOST_ROWS, BATCH_BYTES / max(1.0, row_bytes)))
        allowed_us = SHARE * self._objective_s * 1e6 / min(STRETCH, max(1.0, replica.stretch))
        self._batcher.most_rows = fitting(replica, replica.size(call.inputs, call.rows) / call.rows, allowed_us, cap)


def turn_away(lanes: Sequence[Lane], guards: Sequence[Overload]) -> Callable[[], None]:
    """Refuses a call before anything of it is read, when none of the versions that it may be routed to could answer it in time."""

    def refuse_when_full() -> None:
        for guard in guards:
            if not guard.full:
                return
        lanes[0].statistics.failure(0)
        raise guards[0].refusal()

    return refuse_when_full


def fitting(replica: Replica, row_size: float, allowed_us: float, cap: int) -> int:
    """The most rows, at least one and at most ``cap``, whose run is expected to take no longer than allowed."""
    low, high = 1, max(1, cap)
    while low < high:
        middle = (low + high + 1) // 2
        if replica.estimate_us(int(middle * row_size)) <= allowed_us:
            low = middle
        else:
            high = middle - 1
    return low

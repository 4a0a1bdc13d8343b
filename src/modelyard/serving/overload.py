"""Refusing early what would be answered too late, and batches no larger than a latency objective allows.

How long a call will wait is predicted from what is seen and not from a model of the machine: with so many calls before it, each of
which has lately taken so long to be through while there was always one to do, it will take that many times as long. That covers
waiting, batching, other versions and the machine's other work alike.
"""

from __future__ import annotations

import time
from typing import Any

from modelyard.core.errors import DeadlineExceeded, Unavailable
from modelyard.serving.batching import Batcher
from modelyard.serving.replica import Replica, Waiting
from modelyard.serving.router import Submit

WINDOW_S = 0.05
LEARN = 0.3
"""Weight of the last window in the running estimate."""
MOST_ROWS = 1024
BATCH_BYTES = 64 << 20
"""What the inputs of one run may take."""
SHARE = 0.5
"""Of the objective, for the run alone: a call waits for one run to end and then for its own."""


class Pace:
    """How fast one version gets calls done. Belongs to the event loop."""

    def __init__(self) -> None:
        self.inside = 0
        """Calls that are not answered yet."""
        self.interval_s = 0.0
        """From one answer to the next while there was always a call to answer; 0 while that is not known."""
        self._since = 0.0
        self._answered = 0

    def enter(self) -> None:
        """Counts a call in."""
        if not self.inside:
            self._since, self._answered = time.monotonic(), 0
        self.inside += 1

    def leave(self) -> None:
        """Counts a call out."""
        self.inside -= 1
        self._answered += 1
        now = time.monotonic()
        passed = now - self._since
        if passed >= WINDOW_S or not self.inside:
            seen = passed / self._answered
            self.interval_s = seen if not self.interval_s else self.interval_s + LEARN * (seen - self.interval_s)
            self._since, self._answered = now, 0

    def predicted_s(self) -> float:
        """How long one more call would take from now."""
        return (self.inside + 1) * self.interval_s


class Overload:
    """Keeps one version's calls within an objective."""

    def __init__(self, objective_ms: float, batcher: Batcher, pace: Pace) -> None:
        self._objective_s = objective_ms / 1000
        self._batcher, self._pace = batcher, pace
        self._until_fit = 0

    def before(self, submit: Submit) -> Submit:
        """``submit``, for calls that will be answered within the objective and their own time."""
        pace = self._pace

        def admitted(call: Waiting) -> None:
            predicted = pace.predicted_s()
            if predicted > self._objective_s and pace.inside:
                raise Unavailable(
                    f"This call would take about {predicted * 1000:.0f} ms, more than the deployment's objective of"
                    f" {self._objective_s * 1000:g} ms: too many calls are before it; try again shortly.",
                    retry_after=predicted - self._objective_s,
                )
            deadline_ns = call.request.deadline_ns
            if deadline_ns and pace.inside and predicted > (deadline_ns - time.monotonic_ns()) / 1e9:
                raise DeadlineExceeded(
                    f"This call would take about {predicted * 1000:.0f} ms, longer than the time it allows; try again shortly.",
                    retry_after=predicted,
                )
            done = call.done

            def ended(outcome: Any) -> None:
                call.done = done  # or call and closure would hold each other
                pace.leave()
                self._fit(call)
                done(outcome)

            call.done = ended
            pace.enter()
            try:
                submit(call)
            except Unavailable:
                call.done = done
                pace.inside -= 1
                raise

        return admitted

    def _fit(self, call: Waiting) -> None:
        """Now and then sets the largest batch from what runs have taken."""
        self._until_fit -= 1
        replica = self._batcher.replica
        if self._until_fit > 0 or not isinstance(replica, Replica) or not call.rows:
            return
        self._until_fit = 32
        row_bytes = sum([array.nbytes for array in call.inputs.values()]) / call.rows
        cap = int(min(MOST_ROWS, BATCH_BYTES / max(1.0, row_bytes)))
        self._batcher.most_rows = fitting(replica, replica.size(call.inputs, call.rows) / call.rows, SHARE * self._objective_s * 1e6, cap)


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

"""What is counted of generations on their way back: how many wait, run, and how soon their tokens come."""

from __future__ import annotations

import time
from bisect import bisect_left

from modelyard.core.errors import ModelyardError
from modelyard.core.generation import Emit, TokenChunk
from modelyard.serving.statistics import CallStatistics

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Spread:
    """A histogram of seconds in plain integers."""

    __slots__ = ("count", "counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.count = 0
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.count += 1
        self.total_s += seconds


class GenerationStatistics:
    """Counts of one (deployment, version); used from the event loop only."""

    __slots__ = ("between", "first", "running", "tokens_cached", "tokens_in", "tokens_out", "waiting", "whole")

    def __init__(self) -> None:
        self.waiting = 0
        """Generations that have given nothing yet."""
        self.running = 0
        self.tokens_in = 0
        self.tokens_cached = 0
        self.tokens_out = 0
        self.first = Spread()
        """From arrival to the first token."""
        self.between = Spread()
        """Between one token of a choice and the next."""
        self.whole = Spread()
        """From arrival to the end."""


class Counted:
    """One generation, counted as it passes."""

    __slots__ = ("_arrived", "_began", "_emit", "_last", "_statistics")

    def __init__(self, statistics: CallStatistics, emit: Emit) -> None:
        self._emit = emit
        self._statistics = statistics
        self._arrived = time.monotonic()
        self._began = False
        self._last: dict[int, float] = {}
        counts = statistics.generation = statistics.generation or GenerationStatistics()
        counts.waiting += 1

    def emit(self, item: TokenChunk | ModelyardError) -> None:
        """Counts a chunk or an error, and hands it on."""
        now = time.monotonic()
        counts = self._statistics.generation
        if counts is not None:
            if not self._began:
                self._began = True
                counts.waiting -= 1
                counts.running += 1
            if isinstance(item, ModelyardError):
                counts.running -= 1
                self._statistics.failure(int((now - self._arrived) * 1e6))
            else:
                self._count(counts, item, now)
        self._emit(item)

    def _count(self, counts: GenerationStatistics, chunk: TokenChunk, now: float) -> None:
        if chunk.token_ids:
            before = self._last.get(chunk.choice)
            if before is not None:
                counts.between.add(now - before)
            elif not self._last:
                counts.first.add(now - self._arrived)
            self._last[chunk.choice] = now
        if chunk.last:
            counts.running -= 1
            counts.tokens_in += chunk.usage.tokens_in
            counts.tokens_cached += chunk.usage.tokens_cached
            counts.tokens_out += chunk.usage.tokens_out
            counts.whole.add(now - self._arrived)
            statistics = self._statistics
            statistics.succeeded += 1
            statistics.rows += 1
            statistics.queue_us += chunk.usage.queue_us
            statistics.compute_us += chunk.usage.compute_us
            statistics.total_us += int((now - self._arrived) * 1e6)
            statistics.last_ns = time.time_ns()

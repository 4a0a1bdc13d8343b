"""What one version did in one deployment, in plain integers; counting a call takes well under a microsecond."""

from __future__ import annotations

import time
from bisect import bisect_left

BOUNDS_US = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000)
"""Upper bounds of the latency buckets; one more bucket holds the rest."""


class Stage:
    """Durations of one part of a call: how often, how long in all, and how they spread."""

    __slots__ = ("buckets", "total_us")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_US) + 1)
        self.total_us = 0

    def add_equal(self, duration_us: int, count: int) -> None:
        """Counts the same duration ``count`` times."""
        self.buckets[bisect_left(BOUNDS_US, duration_us)] += count
        self.total_us += duration_us * count

    def add_since(self, began_ns: list[int], ended_ns: int) -> None:
        """Counts durations with one end and sorted beginnings: those of one turn mostly share a bucket, which two looks tell."""
        count = len(began_ns)
        longest = bisect_left(BOUNDS_US, (ended_ns - began_ns[0]) // 1000)
        shortest = bisect_left(BOUNDS_US, (ended_ns - began_ns[-1]) // 1000)
        self.total_us += (ended_ns * count - sum(began_ns)) // 1000
        if longest == shortest:
            self.buckets[longest] += count
            return
        for began in began_ns:
            self.buckets[bisect_left(BOUNDS_US, (ended_ns - began) // 1000)] += 1

    @property
    def count(self) -> int:
        return sum(self.buckets)


class CallStatistics:
    """Counts of one (deployment, version); used from the event loop only."""

    __slots__ = ("compute", "executions", "failed", "failed_us", "last_ns", "queue", "rows", "shared_us", "succeeded", "total")

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0
        self.failed_us = 0
        self.rows = 0
        """Rows of successful calls."""
        self.executions = 0.0
        """Runs of the model; a run that several calls shared counts for each by its part."""
        self.shared_us = 0
        """Time of compute charged to calls: a shared run is divided by rows."""
        self.last_ns = 0
        """Wall-clock time of the last call; 0 before the first."""
        self.queue = Stage()
        self.compute = Stage()
        """Time that the run took which answered a call, as the caller felt it."""
        self.total = Stage()

    def success(self, arrived_ns: list[int], rows: int, began_ns: int, ended_ns: int) -> None:
        """Counts the calls that one run answered, with ``rows`` rows in all; ``arrived_ns`` is in order of arrival."""
        count = len(arrived_ns)
        self.succeeded += count
        self.rows += rows
        self.compute.add_equal((ended_ns - began_ns) // 1000, count)
        self.queue.add_since(arrived_ns, began_ns)
        self.total.add_since(arrived_ns, ended_ns)

    def failure(self, total_us: int) -> None:
        """Counts one call that got an error."""
        self.failed += 1
        self.failed_us += total_us
        self.last_ns = time.time_ns()

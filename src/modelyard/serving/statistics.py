"""What one version did in one deployment, in plain integers; counting a run takes about a microsecond, however many calls share it.

How durations spread is told by the metrics page, for whole requests; here are the sums that the protocols' statistics ask for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.serving.generating import GenerationStatistics


class CallStatistics:
    """Counts of one (deployment, version); used from the event loop only."""

    __slots__ = (
        "compute_us",
        "executions",
        "failed",
        "failed_us",
        "generation",
        "last_ns",
        "queue_us",
        "rows",
        "shared_us",
        "succeeded",
        "total_us",
    )

    def __init__(self) -> None:
        self.generation: GenerationStatistics | None = None
        """Where it generates text."""
        self.succeeded = 0
        self.failed = 0
        self.failed_us = 0
        self.rows = 0
        """Rows of successful calls."""
        self.executions = 0.0
        """Runs of the model; a run that several deployments shared counts for each by its part."""
        self.shared_us = 0
        """Time of compute charged to calls: a shared run is divided by rows."""
        self.last_ns = 0
        """Wall-clock time of the last call; 0 before the first."""
        self.queue_us = 0
        """Time that successful calls waited for their run."""
        self.compute_us = 0
        """Time that the runs took which answered them, as the callers felt it."""
        self.total_us = 0
        """From arrival to outcome."""

    def success(self, count: int, rows: int, arrived_ns: int, began_ns: int, ended_ns: int) -> None:
        """Counts ``count`` calls with ``rows`` rows in all that one run answered; ``arrived_ns`` is the sum of their arrivals."""
        self.succeeded += count
        self.rows += rows
        self.compute_us += (ended_ns - began_ns) // 1000 * count
        self.queue_us += (began_ns * count - arrived_ns) // 1000
        self.total_us += (ended_ns * count - arrived_ns) // 1000
        self.last_ns = time.time_ns()

    def failure(self, total_us: int) -> None:
        """Counts one call that got an error."""
        self.failed += 1
        self.failed_us += total_us
        self.last_ns = time.time_ns()

"""How long a job will run, predicted from how long its like ran: same kind and subject first, then same kind, then anything.

Times follow the size of the data where that is known of enough runs. A prediction is only ever a hint for the order of the line and
for backfilling: nothing is ended because it takes longer.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import NamedTuple

from modelyard.core.jobs import Job, JobStatus

KEPT = 50
"""Runs remembered of each kind and subject, the latest."""
UNKNOWN_SECONDS = 300.0
"""Taken for a kind of which nothing ever ended."""
_FEWEST = 3
_Key = tuple[object, ...]


class _Run(NamedTuple):
    size: float
    seconds: float


class DurationModel:
    """Learns from jobs that ended well. Belongs to one thread."""

    def __init__(self) -> None:
        self._runs: dict[_Key, deque[_Run]] = {}

    def learn(self, job: Job) -> None:
        """Takes a job into account; those that did not succeed say nothing about how long one takes."""
        seconds = (job.ended_ns - job.started_ns) / 1e9
        if job.status is not JobStatus.SUCCEEDED or not job.started_ns or seconds <= 0:
            return
        run = _Run(data_bytes(job), seconds)
        for key in _keys(job):
            self._runs.setdefault(key, deque(maxlen=KEPT)).append(run)

    def predict(self, job: Job) -> float:
        """Seconds, more than 0."""
        for key in _keys(job):
            runs = self._runs.get(key)
            if runs:
                return _estimate(runs, data_bytes(job))
        return UNKNOWN_SECONDS


def data_bytes(job: Job) -> int:
    """The size of the data set that the job works on; 0 when its spec does not say."""
    dataset = job.spec.get("dataset")
    size = dataset.get("size", 0) if isinstance(dataset, dict) else 0
    return size if isinstance(size, int) else 0


def _keys(job: Job) -> tuple[_Key, ...]:
    """What the job is like, from the closest likeness to the loosest."""
    recipe = job.spec.get("recipe")
    subject = job.spec.get("model") or (recipe.get("name") if isinstance(recipe, dict) else "") or ""
    return (job.workspace_id, job.kind, subject), (job.workspace_id, job.kind), (job.kind,)


def _estimate(runs: deque[_Run], size: float) -> float:
    """Along the line of Theil and Sen (the median of the slopes between runs), which strays do not bend; else the median time."""
    middle = statistics.median(run.seconds for run in runs)
    slopes = [
        (other.seconds - run.seconds) / (other.size - run.size)
        for at, run in enumerate(runs)
        for other in list(runs)[at + 1 :]
        if other.size != run.size
    ]
    if not size or len(slopes) < _FEWEST:
        return middle
    slope = max(0.0, statistics.median(slopes))
    base = statistics.median(run.seconds - slope * run.size for run in runs)
    least = min(run.seconds for run in runs) / 2
    return max(least, base + slope * size)

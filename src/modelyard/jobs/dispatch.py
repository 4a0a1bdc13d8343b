"""Between the queue's table and the policy: what there is, what each job needs, how long it will take, and so who starts now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from modelyard.core.clock import Clock
from modelyard.core.jobs import Job, Limits, WorkspacePool
from modelyard.core.resources import EVERYTHING, Resources
from modelyard.jobs.line import Line, Usage
from modelyard.jobs.policy import Aging, Policy, Pool, Quota, Running
from modelyard.jobs.prediction import DurationModel
from modelyard.store.database import Store

HISTORY = 500
"""Jobs that are learned from at the start."""
REFRESH_S = 5.0
"""How long a change that another node has made may go unnoticed."""


@dataclass(frozen=True)
class DispatchOptions:
    """How the machine's resources are shared among jobs."""

    jobs: int = 1
    """Most that run at the same time."""
    capacity: Resources = field(default=EVERYTHING._replace(cores=1.0, gpus=0))
    policy: Policy = Policy.PRIORITY
    aging: Aging = field(default_factory=Aging)

    @property
    def usual(self) -> Resources:
        """What a job gets that asks for nothing in particular: an equal part, and no GPU."""
        return Resources(self.capacity.cores / self.jobs, self.capacity.memory_bytes // self.jobs, 0)


class Dispatcher:
    """Chooses jobs. ``wake`` and ``refuses`` may be called from any thread; everything else belongs to the scheduler's."""

    def __init__(self, store: Store, options: DispatchOptions, clock: Clock, workers: Callable[[Job], int] = lambda _: 1) -> None:
        """``workers`` says how many processes share a job's work."""
        self._store, self._options, self._clock, self._workers = store, options, clock, workers
        self._durations = DurationModel()
        self._usage = Usage()
        self._line = Line(store, options.policy, options.aging, self.needs, self._durations.predict)
        self._pool = Pool(options.capacity, options.jobs)
        self._changed = threading.Event()
        self._changed.set()
        self._refreshed_s = 0.0

    def wake(self) -> None:
        """Says that the table of jobs has changed."""
        self._changed.set()

    def learn_from_history(self) -> None:
        """Takes up what the last jobs have taken."""
        with self._store.read() as session:
            past = session.jobs.succeeded(HISTORY)
        for job in past:
            self.ended(job)

    def needs(self, job: Job) -> Resources:
        """What a job holds while it runs."""
        return needs_of(job.limits, self._options.usual, self._workers(job))

    def refuses(self, workspace_id: int, limits: Limits, workers: int = 1) -> str:
        """Why a job with these limits for each of its workers could never start, as the end of a sentence; empty when it could."""
        with self._store.read() as session:
            own = session.pools.get(workspace_id)
        pool = Pool(self._options.capacity, quotas={workspace_id: _quota(own)})
        return pool.refuses(workspace_id, needs_of(limits, self._options.usual, workers))

    def choose(self, active: Iterable[Job]) -> list[int]:
        """Ids of the jobs to start beside those that are active."""
        now_s = self._clock.time_ns() / 1e9
        if self._changed.is_set() or now_s - self._refreshed_s >= REFRESH_S:
            self._changed.clear()
            self._refresh()
            self._refreshed_s = now_s
        running = [
            Running(job.workspace_id, self.needs(job), max(now_s, job.started_ns / 1e9 + self._durations.predict(job))) for job in active
        ]
        return self._line.choose(running, self._usage.at(now_s), self._pool, now_s)

    def left(self, job_id: int) -> None:
        """A job waits no more."""
        self._line.remove(job_id)

    def ended(self, job: Job) -> None:
        """Counts what a job has taken."""
        self._durations.learn(job)
        if job.started_ns and job.ended_ns > job.started_ns:
            seconds = (job.ended_ns - job.started_ns) / 1e9
            self._usage.add(job.workspace_id, self.needs(job).cores * seconds, job.ended_ns / 1e9)

    def _refresh(self) -> None:
        with self._store.read() as session:
            pools = session.pools.all()
        self._pool = Pool(self._options.capacity, self._options.jobs, {pool.workspace_id: _quota(pool) for pool in pools})
        self._line.refresh(self._pool)


def needs_of(limits: Limits, usual: Resources, workers: int = 1) -> Resources:
    """What a job with these limits holds: what it names, and else the usual part.

    Cores and GPUs are those of each worker, who has at least one core; memory is the whole job's. Without workers of this machine it
    takes the usual part of its cores, and no GPU.
    """
    cores = limits.cores * workers or max(usual.cores, workers if workers > 1 else 0)
    return Resources(cores, limits.memory_bytes or usual.memory_bytes, limits.gpus * workers)


def _quota(pool: WorkspacePool) -> Quota:
    most = Resources(pool.cores or EVERYTHING.cores, pool.memory_bytes or EVERYTHING.memory_bytes, pool.gpus or EVERYTHING.gpus)
    return Quota(most, pool.jobs or EVERYTHING.gpus, pool.share)

"""The waiting jobs as the scheduler sees them: a mirror of the table, so that a decision reads no rows it has read before."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.core.jobs import Job
from modelyard.core.resources import Resources
from modelyard.jobs.policy import Aging, Policy, Pool, Running, Waiting, choose, in_turn, turn
from modelyard.store.database import Store

HALF_LIFE_S = 24 * 3600.0
"""After this time a workspace's use of the pool counts half against it."""


class Usage:
    """What each workspace has had lately, in core-seconds; what lies back counts less and less."""

    def __init__(self, half_life_s: float = HALF_LIFE_S) -> None:
        self._half_life_s = half_life_s
        self._had: dict[int, tuple[float, float]] = {}

    def add(self, workspace_id: int, core_seconds: float, now_s: float) -> None:
        """Notes that a workspace has used something until now."""
        self._had[workspace_id] = (self._now(workspace_id, now_s) + core_seconds, now_s)

    def at(self, now_s: float) -> dict[int, float]:
        """By workspace."""
        return {workspace_id: self._now(workspace_id, now_s) for workspace_id in self._had}

    def _now(self, workspace_id: int, now_s: float) -> float:
        amount, at_s = self._had.get(workspace_id, (0.0, now_s))
        return float(amount * 0.5 ** (max(0.0, now_s - at_s) / self._half_life_s))


class Line:
    """Waiting jobs in turn. Belongs to the scheduler's thread."""

    def __init__(
        self, store: Store, policy: Policy, aging: Aging, needs: Callable[[Job], Resources], predict: Callable[[Job], float]
    ) -> None:
        self._store, self._policy, self._aging = store, policy, aging
        self._needs, self._predict = needs, predict
        self._known: dict[int, Waiting] = {}
        self._sorted: list[Waiting] = []

    def refresh(self, pool: Pool) -> None:
        """Takes in what was submitted, cancelled or begun elsewhere; reads only the rows of jobs it does not know."""
        with self._store.read() as session:
            waiting = session.jobs.waiting_ids()
            fresh = session.jobs.several([job_id for job_id in waiting if job_id not in self._known])
        present = set(waiting)
        self._known = {job_id: job for job_id, job in self._known.items() if job_id in present}
        for job in fresh:
            made = Waiting(job.id, job.workspace_id, self._needs(job), self._predict(job), job.created_ns / 1e9, job.priority)
            self._known[job.id] = made
        self._sorted = sorted(self._known.values(), key=lambda job: (turn(self._policy, job, pool.capacity, self._aging), job.id))

    def remove(self, job_id: int) -> None:
        """Forgets a job that waits no more."""
        if self._known.pop(job_id, None) is not None:
            self._sorted = [job for job in self._sorted if job.id != job_id]

    def choose(self, running: list[Running], used: dict[int, float], pool: Pool, now_s: float) -> list[int]:
        """Ids of the jobs that start now; see ``policy.choose``."""
        return [job.id for job in choose(in_turn(self._policy, self._sorted, used, pool), running, pool, now_s)]

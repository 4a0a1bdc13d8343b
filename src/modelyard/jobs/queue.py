"""The queue as people see it: submit, look, cancel. The scheduler does the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from modelyard.core.access import Action
from modelyard.core.api import LogChunk
from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, did_you_mean
from modelyard.core.events import Actor
from modelyard.core.jobs import Job, JobStatus, Limits
from modelyard.jobs.folder import JobFolder
from modelyard.jobs.kinds import JobKind
from modelyard.observability.log_files import read_log
from modelyard.store.database import Store
from modelyard.store.home import Home

logger = logging.getLogger(__name__)
MAX_SPEC_BYTES = 2**20
PRIORITIES = range(-1000, 1001)


class JobQueue:
    """Jobs of all workspaces. ``wake`` is called after each change that the scheduler should see soon.

    ``refuses`` tells, as the end of a sentence, why a job of a workspace with such limits and so many workers could never start.
    """

    def __init__(
        self,
        store: Store,
        home: Home,
        kinds: Mapping[str, JobKind],
        clock: Clock,
        wake: Callable[[], None],
        *,
        refuses: Callable[[int, Limits, int], str] = lambda *_: "",
    ) -> None:
        self._store, self._home, self._kinds, self._clock, self._wake = store, home, kinds, clock, wake
        self._refuses = refuses

    def rights(self, kind: str, spec: Mapping[str, Any]) -> frozenset[Action]:
        """Rights that the submitter of such a job needs besides ``develop``; none for a kind that there is not."""
        return self._kinds[kind].rights(spec) if kind in self._kinds else frozenset()

    def submit(self, actor: Actor, kind: str, spec: dict[str, Any], *, priority: int = 0, limits: Limits | None = None) -> Job:
        """Puts a job into the queue.

        Raises InvalidRequest, and what the kind's own check raises, when the spec cannot be worked on.
        """
        if kind not in self._kinds:
            raise InvalidRequest(f"There is no kind of job {kind!r}.{did_you_mean(kind, self._kinds)} Kinds: {', '.join(self._kinds)}.")
        if priority not in PRIORITIES:
            raise InvalidRequest(f"Priority {priority} is outside {PRIORITIES.start} to {PRIORITIES.stop - 1}; higher runs sooner.")
        limits = limits or Limits()
        if limits.memory_bytes < 0 or limits.wall_seconds < 0 or not 0 <= limits.attempts <= 10:
            raise InvalidRequest("A job's limits cannot be negative, nor its attempts more than 10; 0 means the platform's default.")
        if min(limits.cores, limits.gpus) < 0:
            raise InvalidRequest("A job's cores and GPUs cannot be negative; 0 means the platform's default.")
        checked = self._kinds[kind].check(actor.workspace_id, spec)
        self._check_room(actor.workspace_id, kind, checked, limits)
        if len(msgspec.json.encode(checked)) > MAX_SPEC_BYTES:
            raise InvalidRequest(f"The job's spec is larger than {MAX_SPEC_BYTES} bytes; upload large inputs as a dataset and name it.")
        job = Job(
            id=0,
            workspace_id=actor.workspace_id,
            kind=kind,
            spec=checked,
            priority=priority,
            limits=limits,
            created_by=actor.name,
            created_ns=self._clock.time_ns(),
        )
        with self._store.write() as session:
            job = session.jobs.add(job)
            session.audit.append(actor, "job.submit", f"job/{job.id}", after={"kind": kind, "priority": priority})
        self._wake()
        return job

    def get(self, workspace_id: int, job_id: int) -> Job:
        """A job of the workspace. Raises NotFound."""
        with self._store.read() as session:
            job = session.jobs.get(workspace_id, job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id}.")
        return job

    def list(self, workspace_id: int, *, status: JobStatus | None = None, limit: int = 100, before_id: int = 0) -> list[Job]:
        """Jobs of the workspace, newest first."""
        with self._store.read() as session:
            return session.jobs.list(workspace_id, status=status, limit=limit, before_id=before_id)

    def cancel(self, actor: Actor, job_id: int) -> Job:
        """Cancels a job at once when it waits; one that runs is asked to end and is cancelled when its processes are gone.

        Raises NotFound, and Conflict when it has already ended.
        """
        with self._store.write() as session:
            job = session.jobs.get(actor.workspace_id, job_id)
            if job is None:
                raise NotFound(f"There is no job {job_id}.")
            if job.status.ended:
                raise Conflict(f"Job {job_id} is already {job.status}; there is nothing to cancel.")
            if job.status is JobStatus.QUEUED:
                job = session.jobs.update(job_id, status=JobStatus.CANCELLED, cancel_requested=True, ended_ns=self._clock.time_ns())
            else:
                job = session.jobs.update(job_id, cancel_requested=True)
            session.audit.append(actor, "job.cancel", f"job/{job_id}")
        self._wake()
        return job

    def resume(self, actor: Actor, job_id: int, changes: Mapping[str, Any] | None = None) -> Job:
        """Queues a job that goes on where one that failed or was cancelled has ended; ``changes`` are laid over its spec.

        Raises NotFound, and Conflict when it has not ended so, or left nothing to go on from.
        """
        old = self.get(actor.workspace_id, job_id)
        if not old.status.ended or old.status is JobStatus.SUCCEEDED:
            raise Conflict(f"Job {job_id} is {old.status}; only a job that failed or was cancelled can be resumed.")
        folder = JobFolder(self._home.jobs / str(job_id))
        if not folder.resumable:
            raise Conflict(f"Job {job_id} left nothing to go on from, or was resumed already; submit it anew.")
        checked = self._kinds[old.kind].check(actor.workspace_id, _laid_over(old.spec, changes or {}))
        self._check_room(actor.workspace_id, old.kind, checked, old.limits)
        job = Job(
            id=0,
            workspace_id=actor.workspace_id,
            kind=old.kind,
            spec=checked,
            priority=old.priority,
            limits=old.limits,
            created_by=actor.name,
            created_ns=self._clock.time_ns(),
        )
        with self._store.write() as session:
            job = session.jobs.add(job)
            session.audit.append(actor, "job.resume", f"job/{job.id}", before={"job": job_id}, after={"kind": old.kind})
            JobFolder(self._home.jobs / str(job.id)).inherit(folder)
        self._wake()
        return job

    def _check_room(self, workspace_id: int, kind: str, spec: Mapping[str, Any], limits: Limits) -> None:
        never = self._refuses(workspace_id, limits, self._kinds[kind].workers(spec))
        if never:
            raise InvalidRequest(f"The job {never}; ask for less, or have the pool enlarged.")

    def log(self, workspace_id: int, job_id: int, offset: int = 0) -> LogChunk:
        """What the job's processes have written from byte ``offset`` on, a limited piece at a time. Raises NotFound."""
        self.get(workspace_id, job_id)
        return read_log(JobFolder(self._home.jobs / str(job_id)).log, offset)


def _laid_over(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with what the changes say instead, field by field."""
    merged = dict(spec)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = _laid_over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged

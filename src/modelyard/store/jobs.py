"""Jobs: the persistent queue."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import msgspec
from sqlalchemy import Connection, Select, insert, select, update

from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, NotFound
from modelyard.core.jobs import Job, JobStatus, Progress, check_move
from modelyard.store.rows import decode, encode
from modelyard.store.tables import jobs


class JobChanges(TypedDict, total=False):
    """What may change in a job."""

    status: JobStatus
    priority: int
    progress: Progress
    result: dict[str, Any]
    error: str
    attempt: int
    pid: int
    started_ns: int
    ended_ns: int
    cancel_requested: bool


Jobs = list[Job]
Identities = list[int]
_MOST_NAMED = 500
"""Ids in one query."""


class JobsTable:
    """Rows of ``jobs``."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, job: Job) -> Job:
        """Stores a job; the same with its id and time."""
        made = msgspec.structs.replace(job, created_ns=job.created_ns or self._clock.time_ns())
        values = encode(made)
        identity = self._connection.execute(insert(jobs).values(**values).returning(jobs.c.id)).scalar_one()
        return msgspec.structs.replace(made, id=identity)

    def get(self, workspace_id: int | None, job_id: int) -> Job | None:
        """A job of the workspace; of any when ``workspace_id`` is None, which is for the platform itself."""
        query = select(jobs).where(jobs.c.id == job_id)
        if workspace_id is not None:
            query = query.where(jobs.c.workspace_id == workspace_id)
        found = self._load(query)
        return found[0] if found else None

    def list(self, workspace_id: int | None, *, status: JobStatus | None = None, limit: int = 100, before_id: int = 0) -> Jobs:
        """Jobs, newest first; those older than ``before_id`` where one is given."""
        query = select(jobs)
        if workspace_id is not None:
            query = query.where(jobs.c.workspace_id == workspace_id)
        if status is not None:
            query = query.where(jobs.c.status == status.value)
        if before_id:
            query = query.where(jobs.c.id < before_id)
        return self._load(query.order_by(jobs.c.id.desc()).limit(limit))

    def update(self, job_id: int, *, expect: JobStatus | None = None, **changes: Unpack[JobChanges]) -> Job:
        """Changes a job, which must be in the state ``expect`` where one is given; the job as it is now.

        Raises NotFound, and Conflict when it is in another state or may not make this move.
        """
        job = self.get(None, job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id}.")
        if expect is not None and job.status is not expect:
            raise Conflict(f"Job {job_id} is {job.status}, not {expect}.")
        wanted = changes.get("status", job.status)
        if wanted is not job.status:
            check_move(job.status, wanted)
        if changes:
            self._connection.execute(update(jobs).where(jobs.c.id == job_id).values(**changes))
        return msgspec.structs.replace(job, **changes)

    def waiting_ids(self) -> Identities:
        """Ids of the jobs that wait, oldest first."""
        return list(
            self._connection.execute(select(jobs.c.id).where(jobs.c.status == JobStatus.QUEUED.value).order_by(jobs.c.id)).scalars()
        )

    def several(self, ids: Identities) -> Jobs:
        """These jobs, of any workspace, oldest first."""
        parts = [ids[at : at + _MOST_NAMED] for at in range(0, len(ids), _MOST_NAMED)]
        return [job for part in parts for job in self._load(select(jobs).where(jobs.c.id.in_(part)).order_by(jobs.c.id))]

    def succeeded(self, limit: int) -> Jobs:
        """The jobs of all workspaces that succeeded last, the oldest of them first."""
        query = select(jobs).where(jobs.c.status == JobStatus.SUCCEEDED.value).order_by(jobs.c.id.desc()).limit(limit)
        return self._load(query)[::-1]

    def unended(self) -> Jobs:
        """Jobs that wait or run, oldest first."""
        open_states = [status.value for status in JobStatus if not status.ended]
        return self._load(select(jobs).where(jobs.c.status.in_(open_states)).order_by(jobs.c.id))

    def _load(self, query: Select[Any]) -> Jobs:
        return [decode(row, Job) for row in self._connection.execute(query).mappings()]

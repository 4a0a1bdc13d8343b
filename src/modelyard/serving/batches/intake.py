"""The controller's part of batches: each that is open has a job in the queue, until it has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, ModelyardError, NotFound
from modelyard.core.events import Actor
from modelyard.core.jobs import Job, JobStatus, Limits
from modelyard.jobs.queue import JobQueue
from modelyard.serving.batches.ending import finish
from modelyard.serving.batches.files import Batch, BatchFiles, Fault
from modelyard.store.database import Store

logger = logging.getLogger(__name__)
KIND = "batch"
PRIORITY = -1
"""Just below what people wait for."""
_MOST_FAILURES = 3
_SWEEP_NS = 60_000_000_000
NAME = "batches"
"""Who submits the jobs, in the audit log."""


class BatchIntake:
    """``tick`` looks once. One thread uses it."""

    def __init__(self, files: BatchFiles, queue: JobQueue, store: Store, clock: Clock, *, retention_seconds: float) -> None:
        self._files, self._queue, self._store, self._clock = files, queue, store, clock
        self._retention_s = retention_seconds
        self._jobs: dict[str, int] = {}
        """The job that was last seen to work on a batch."""
        self._failures: dict[str, int] = {}
        self._swept_ns = 0

    def tick(self) -> None:
        """Submits, ends and deletes what is due."""
        batches = self._files.open()
        if batches:
            working = self._working()
            for batch in batches:
                self._look(batch, working.get(batch.id))
        now = self._clock.time_ns()
        if now - self._swept_ns >= _SWEEP_NS:
            self._swept_ns = now
            self._sweep(now)

    def _working(self) -> Mapping[str, Job]:
        with self._store.read() as session:
            unended = session.jobs.unended()
        return {str(job.spec.get("batch", "")): job for job in unended if job.kind == KIND}

    def _look(self, batch: Batch, job: Job | None) -> None:
        if job is not None:
            self._jobs[batch.id] = job.id
        over = self._over(batch)
        if over and (job is None or job.status is JobStatus.QUEUED):
            if job is not None:
                self._withdraw(batch, job)
            self._end(batch, over)
        elif job is None:
            self._submit(batch)

    def _over(self, batch: Batch) -> str:
        """How the batch is to end before all is answered; empty while it may go on. A running job sees that itself."""
        if self._files.cancelled_ns(batch):
            return "cancelled"
        return "expired" if self._clock.time_ns() >= batch.expires_ns else ""

    def _withdraw(self, batch: Batch, job: Job) -> None:
        try:
            self._queue.cancel(_actor(batch), job.id)
        except (Conflict, NotFound):  # it has just ended by itself
            logger.info("Job %d of %s ended before it could be cancelled", job.id, batch.id)

    def _end(self, batch: Batch, status: str, fault: Fault | None = None) -> None:
        with self._files.turn(batch) as mine:
            if mine:  # else a job began just now, and sees the same as we did
                finish(self._files, batch, status, clock=self._clock, retention_seconds=self._retention_s, fault=fault)
                self._jobs.pop(batch.id, None)
                self._failures.pop(batch.id, None)

    def _submit(self, batch: Batch) -> None:
        """Another turn of work, unless the last ones failed or somebody cancelled one."""
        last = self._last(batch)
        if last is not None and last.status is JobStatus.CANCELLED:
            self._files.cancel(batch, self._clock.time_ns())  # a person ended the job, and means the batch
            return
        if last is not None and last.status is JobStatus.FAILED:
            failures = self._failures[batch.id] = self._failures.get(batch.id, 0) + 1
            if failures >= _MOST_FAILURES:
                self._end(batch, "failed", Fault(code="batch_failed", message=last.error))
                return
        left_s = max(1.0, (batch.expires_ns - self._clock.time_ns()) / 1e9)
        limits = Limits(wall_seconds=left_s + 600.0, cores=0.5)
        try:
            job = self._queue.submit(_actor(batch), KIND, {"batch": batch.id}, priority=PRIORITY, limits=limits)
        except ModelyardError as error:
            logger.warning("%s waits: %s", batch.id, error.message)
            return
        self._jobs[batch.id] = job.id

    def _last(self, batch: Batch) -> Job | None:
        job_id = self._jobs.pop(batch.id, 0)
        if not job_id:
            return None
        with self._store.read() as session:
            return session.jobs.get(batch.workspace_id, job_id)

    def _sweep(self, now_ns: int) -> None:
        """Deletes files whose time is over, and batches that ended as long ago."""
        before = now_ns - int(self._retention_s * 1e9)
        for workspace in self._files.workspaces():
            batches = self._files.batches(workspace)
            used = {batch.file_id for batch in batches if self._files.ended(batch) is None}
            for file in self._files.files(workspace):
                if file.expires_ns and file.expires_ns <= now_ns and file.id not in used:
                    self._files.remove_file(workspace, file.id)
            for batch in batches:
                ended = self._files.ended(batch)
                if ended is not None and ended.time_ns <= before:
                    self._files.remove(batch)


def _actor(batch: Batch) -> Actor:
    return Actor(name=NAME, workspace_id=batch.workspace_id, request_id=batch.id)

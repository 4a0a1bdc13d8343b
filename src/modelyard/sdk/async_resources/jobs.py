"""Long work: submit, watch, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from modelyard.core.api import LogChunk
from modelyard.core.errors import DeadlineExceeded, JobFailed
from modelyard.core.jobs import Job, JobStatus, Limits, Progress
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.waiting import async_sleep

OnProgress = Callable[[Progress], None]
"""Called whenever a job's progress changed."""


class AsyncJobs:
    """The job queue."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def submit(self, kind: str, spec: Mapping[str, Any], *, priority: int = 0, limits: Limits | None = None) -> Job:
        body = {"kind": kind, "spec": dict(spec), "priority": priority, "limits": msgspec.to_builtins(limits or Limits())}
        return await self._transport.fetch(Job, "POST", "/api/v1/jobs", json=body)

    async def list(self, *, status: JobStatus | str = "", limit: int = 50) -> list[Job]:
        """Jobs, newest first."""
        return await self._transport.fetch(list[Job], "GET", "/api/v1/jobs", params={"status": str(status), "limit": limit})

    async def get(self, job: int) -> Job:
        return await self._transport.fetch(Job, "GET", f"/api/v1/jobs/{job}")

    async def log(self, job: int, offset: int = 0) -> LogChunk:
        """What the job wrote to its log from ``offset`` on."""
        return await self._transport.fetch(LogChunk, "GET", f"/api/v1/jobs/{job}/log", params={"offset": offset})

    async def cancel(self, job: int) -> Job:
        """Asks for the end of a job; its whole process group is stopped."""
        return await self._transport.fetch(Job, "POST", f"/api/v1/jobs/{job}/cancel")

    async def resume(self, job: int, changes: Mapping[str, Any] | None = None) -> Job:
        """Queues a job that goes on where one that failed or was cancelled has ended; ``changes`` are laid over its spec."""
        return await self._transport.fetch(Job, "POST", f"/api/v1/jobs/{job}/resume", json={"changes": dict(changes or {})})

    async def wait(self, job: int, *, on_progress: OnProgress | None = None, timeout: float = 0.0, every: float = 0.2) -> Job:
        """The job as it ended well, looked at ``every`` seconds.

        Raises JobFailed when it failed or was cancelled, DeadlineExceeded after ``timeout`` seconds (0 for no limit); the job goes on.
        """
        until = time.monotonic() + timeout
        shown: Progress | None = None
        while True:
            found = await self.get(job)
            if on_progress is not None and found.progress != shown:
                shown = found.progress
                on_progress(shown)
            if found.status.ended:
                return _ended_well(found)
            if timeout and time.monotonic() >= until:
                raise DeadlineExceeded(
                    f"Job {job} is still {found.status} after {timeout:g} seconds; it goes on, see: modelyard logs {job}"
                )
            await async_sleep(every)


def _ended_well(job: Job) -> Job:
    if job.status is JobStatus.SUCCEEDED:
        return job
    if job.status is JobStatus.CANCELLED:
        raise JobFailed(f"Job {job.id} was cancelled.")
    raise JobFailed(f"Job {job.id} failed: {job.error or 'no reason was recorded; see its log with modelyard logs ' + str(job.id)}")

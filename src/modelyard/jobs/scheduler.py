"""The scheduler: takes jobs from the queue, runs them through an engine and stores what they made.

A job goes through three phases while it is ``running``: its inputs are fetched, its process works, its result is stored. Fetching
and storing may take long, so they run on threads; everything else happens in ``tick``, on the scheduler's own thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.core.clock import Clock
from modelyard.core.errors import ModelyardError, Unavailable
from modelyard.core.jobs import Job, JobStatus, Limits, Progress
from modelyard.engines.base import Ending, Engine, Task, TaskStatus
from modelyard.jobs.dispatch import Dispatcher, DispatchOptions
from modelyard.jobs.endings import crash_sentence, failure_sentence, killed_platform_sentence, unexpected_sentence
from modelyard.jobs.folder import JobFolder, Outcome
from modelyard.jobs.kinds import JobKind
from modelyard.jobs.progress import ProgressTail
from modelyard.store.database import Store
from modelyard.store.home import Home
from modelyard.store.jobs import JobChanges

logger = logging.getLogger(__name__)
BUSY_SECONDS = 0.1
IDLE_SECONDS = 1.0
PROGRESS_NS = 400_000_000


@dataclass(frozen=True)
class SchedulerOptions:
    """How jobs run on this machine."""

    command: tuple[str, ...]
    """Starts a job's process; its folder and the import string of its kind are added."""
    dispatch: DispatchOptions = field(default_factory=DispatchOptions)
    devices: tuple[str, ...] = ()
    """Ids of the GPUs that jobs may be given."""
    memory_bytes: int = 0
    wall_seconds: float = 0.0
    attempts: int = 2
    grace_seconds: float = 5.0


class _Active:
    """A job that was taken from the queue, with the phase it is in."""

    def __init__(self, job: Job, folder: JobFolder) -> None:
        self.job = job
        self.folder = folder
        self.tail = ProgressTail(folder.progress, job.started_ns)
        self.handle = ""
        self.preparing: Future[None] | None = None
        self.finishing: Future[dict[str, Any]] | None = None
        self.ended: TaskStatus | None = None
        self.next_write_ns = 0
        self.devices: tuple[str, ...] = ()


class JobScheduler:
    """Runs jobs as its policy says. One thread calls ``recover`` once and then ``tick`` again and again, as ``run`` does."""

    def __init__(
        self,
        *,
        store: Store,
        home: Home,
        engine: Engine,
        kinds: Mapping[str, JobKind],
        fetch: Callable[[str, Path], object],
        options: SchedulerOptions,
        clock: Clock,
    ) -> None:
        self._store, self._home, self._engine, self._kinds = store, home, engine, kinds
        self._fetch, self._options, self._clock = fetch, options, clock
        self._active: dict[int, _Active] = {}
        self._dispatcher = Dispatcher(store, options.dispatch, clock, self._workers)
        self._threads = ThreadPoolExecutor(max_workers=options.dispatch.jobs + 1, thread_name_prefix="job")
        self._woken = threading.Event()

    def wake(self) -> None:
        """Makes ``run`` look at once; callable from any thread."""
        self._dispatcher.wake()
        self._woken.set()

    @property
    def refuses(self) -> Callable[[int, Limits, int], str]:
        """See ``Dispatcher.refuses``; callable from any thread."""
        return self._dispatcher.refuses

    def run(self, stop: threading.Event) -> None:
        """Recovers, then ticks until ``stop`` is set and somebody calls ``wake``; then ends what runs, to be started again."""
        recovered = False
        while not stop.is_set():
            busy = True
            try:
                if not recovered:
                    self.recover()
                    recovered = True
                busy = self.tick()
            except ModelyardError as error:  # the database is away; what is known stays in memory until it is back
                logger.warning("Jobs wait: %s", error.message)
            self._woken.wait(BUSY_SECONDS if busy else IDLE_SECONDS)
            self._woken.clear()
        self.close()

    def recover(self) -> None:
        """Deals with jobs that a dead predecessor left running: stores a finished one's result, starts others again or fails them."""
        self._dispatcher.learn_from_history()
        with self._store.read() as session:
            left = [job for job in session.jobs.unended() if job.status is JobStatus.RUNNING and job.id not in self._active]
        for job in left:
            active = self._activate(job)
            self._engine.reclaim(active.folder.root)
            outcome = active.folder.outcome()
            if outcome is not None and outcome.ok is not None:
                self._active[job.id] = active
                self._finish(active, outcome.ok)
            elif job.cancel_requested:
                self._end(active, JobStatus.CANCELLED)
            elif job.attempt >= self._attempts(job):
                self._end(active, JobStatus.FAILED, killed_platform_sentence(job))
            else:
                logger.info("Job %d starts again after the platform was killed", job.id)
                self._change(job, status=JobStatus.QUEUED, pid=0, progress=Progress(stage="queued again"))

    def tick(self) -> bool:
        """Moves every job on by what has happened since; whether any is active."""
        if self._active:
            self._ask_cancelled()
        for active in list(self._active.values()):
            self._advance(active)
        self._claim()
        return bool(self._active)

    def close(self) -> None:
        """Ends running jobs and puts them back into the queue, at no cost of an attempt; waits for results that are being stored."""
        for active in list(self._active.values()):
            if active.handle:
                self._engine.forget(active.handle)
                active.handle = ""
            if active.preparing is not None:
                active.preparing.exception()
            try:
                if active.finishing is not None:
                    active.finishing.exception()
                    self._stored(active, active.finishing)
                else:
                    job = active.job
                    self._change(
                        job, status=JobStatus.QUEUED, pid=0, attempt=max(0, job.attempt - 1), progress=Progress(stage="queued again")
                    )
            except ModelyardError as error:
                logger.warning("Job %d is left as it is until the next start: %s", active.job.id, error.message)
        self._active.clear()
        self._threads.shutdown()

    def _ask_cancelled(self) -> None:
        with self._store.read() as session:
            asked = [job.id for job in session.jobs.list(None, status=JobStatus.RUNNING, limit=1000) if job.cancel_requested]
        for active in (self._active[job_id] for job_id in asked if job_id in self._active):
            if active.handle and active.ended is None:
                self._engine.cancel_job(active.handle)
            elif active.preparing is not None and active.preparing.done():
                self._end(active, JobStatus.CANCELLED)

    def _claim(self) -> None:
        if len(self._active) >= self._options.dispatch.jobs:
            return
        for job_id in self._dispatcher.choose([active.job for active in self._active.values()]):
            self._start(job_id)

    def _start(self, job_id: int) -> None:
        self._dispatcher.left(job_id)
        with self._store.write() as session:
            job = session.jobs.get(None, job_id)
            if job is None or job.status is not JobStatus.QUEUED:
                return  # cancelled between the look and now
            job = session.jobs.update(
                job.id,
                expect=JobStatus.QUEUED,
                status=JobStatus.RUNNING,
                attempt=job.attempt + 1,
                started_ns=self._clock.time_ns(),
                progress=Progress(stage="starting"),
            )
        active = self._active[job.id] = self._activate(job)
        if job.kind not in self._kinds:
            self._end(active, JobStatus.FAILED, f"This version of Modelyard knows no job of kind {job.kind!r}.")
            return
        active.preparing = self._threads.submit(self._prepare, active)

    def _prepare(self, active: _Active) -> None:
        kind = self._kinds[active.job.kind]
        active.folder.prepare({**active.job.spec, **kind.facts(active.job)}, active.job.attempt)
        for name, digest in kind.inputs(active.job).items():
            self._fetch(digest, active.folder.inputs / name)

    def _advance(self, active: _Active) -> None:
        if active.preparing is not None:
            if active.preparing.done():
                self._launch(active, active.preparing)
        elif active.finishing is not None:
            if active.finishing.done():
                self._stored(active, active.finishing)
        elif active.ended is not None:
            self._settle(active, active.ended)
        elif active.handle:
            status = self._engine.status(active.handle)
            self._note_progress(active)
            if status.ending is not None:
                active.ended = status
                self._settle(active, status)

    def _launch(self, active: _Active, prepared: Future[None]) -> None:
        error = prepared.exception()
        if error is not None:
            logger.error("Job %d could not be prepared", active.job.id, exc_info=error)
            self._end(active, JobStatus.FAILED, failure_sentence(error, "fetching its inputs"))
            return
        job, options = active.job, self._options
        task = Task(
            folder=active.folder.root,
            command=(*options.command, str(active.folder.root), self._kinds[job.kind].run),
            log=active.folder.log,
            environment=self._gpus(active),
            cores=self._dispatcher.needs(job).cores,
            memory_bytes=job.limits.memory_bytes or options.memory_bytes,
            wall_seconds=job.limits.wall_seconds or options.wall_seconds,
            grace_seconds=options.grace_seconds,
        )
        try:
            active.handle = self._engine.submit_job(task)
        except Unavailable as unavailable:
            self._end(active, JobStatus.FAILED, unavailable.message)
            return
        active.preparing = None
        active.job = self._change(job, pid=self._engine.status(active.handle).pid)

    def _gpus(self, active: _Active) -> dict[str, str]:
        """The variable that shows a job the GPUs it was given and no others, on machines that have any to give."""
        if not self._options.devices:
            return {}
        taken = {device for other in self._active.values() for device in other.devices}
        free = [device for device in self._options.devices if device not in taken]
        active.devices = tuple(free[: self._dispatcher.needs(active.job).gpus])
        return {"CUDA_VISIBLE_DEVICES": ",".join(active.devices)}

    def _note_progress(self, active: _Active) -> None:
        now = self._clock.monotonic_ns()
        if now >= active.next_write_ns and active.tail.read():
            active.next_write_ns = now + PROGRESS_NS
            active.job = self._change(active.job, progress=active.tail.latest)

    def _settle(self, active: _Active, status: TaskStatus) -> None:
        """Decides what follows from how a job's process ended."""
        job = active.job
        outcome = active.folder.outcome()
        if outcome is not None and status.ending in {Ending.EXITED, Ending.CRASHED}:
            # A library that crashes while the interpreter shuts down does not spoil a result that is whole.
            self._settle_outcome(active, outcome)
        elif status.ending is Ending.CANCELLED:
            self._end(active, JobStatus.CANCELLED)
        elif status.ending in {Ending.MEMORY, Ending.WALL}:
            self._end(active, JobStatus.FAILED, unexpected_sentence(status, job, self._options.memory_bytes, self._options.wall_seconds))
        elif job.attempt < self._attempts(job):
            logger.warning("Job %d crashed with exit code %d in attempt %d and starts again", job.id, status.exit_code, job.attempt)
            self._change(job, status=JobStatus.QUEUED, pid=0, progress=Progress(stage="queued again"))
            self._drop(active)
        else:
            self._end(active, JobStatus.FAILED, crash_sentence(status, job))

    def _settle_outcome(self, active: _Active, outcome: Outcome) -> None:
        if outcome.ok is None:
            self._end(active, JobStatus.FAILED, outcome.error)
            return
        active.tail.read()
        latest = active.tail.latest
        storing = Progress(stage="storing the result", fraction=latest.fraction)
        active.job = self._change(active.job, pid=0, progress=storing)
        self._finish(active, outcome.ok)

    def _finish(self, active: _Active, result: dict[str, Any]) -> None:
        finish = self._kinds[active.job.kind].finish
        active.finishing = self._threads.submit(finish, active.job, active.folder.root, result)

    def _stored(self, active: _Active, finished: Future[dict[str, Any]]) -> None:
        error = finished.exception()
        if isinstance(error, Unavailable):
            outcome = active.folder.outcome()
            if outcome is not None and outcome.ok is not None:
                logger.warning("The result of job %d cannot be stored yet: %s", active.job.id, error)
                self._finish(active, outcome.ok)
                return
        if error is not None:
            logger.error("The result of job %d could not be stored", active.job.id, exc_info=error)
            self._end(active, JobStatus.FAILED, failure_sentence(error, "storing its result"))
            return
        done = Progress(stage="done", fraction=1.0, eta_seconds=0.0)
        self._end(active, JobStatus.SUCCEEDED, result=finished.result(), progress=done)

    def _end(self, active: _Active, status: JobStatus, error: str = "", **changes: Any) -> None:
        self._dispatcher.ended(self._change(active.job, status=status, error=error, pid=0, ended_ns=self._clock.time_ns(), **changes))
        logger.info("Job %d %s%s", active.job.id, status, f": {error}" if error else "")
        active.folder.discard()
        if status is JobStatus.SUCCEEDED or not active.folder.resumable:
            active.folder.forget()
        self._drop(active)

    def _drop(self, active: _Active) -> None:
        if active.handle:
            self._engine.forget(active.handle)
        self._active.pop(active.job.id, None)
        self._dispatcher.wake()

    def _change(self, job: Job, **changes: Any) -> Job:
        wanted: JobChanges = changes  # type: ignore[assignment]  # checked by the table itself
        with self._store.write() as session:
            return session.jobs.update(job.id, expect=JobStatus.RUNNING, **wanted)

    def _activate(self, job: Job) -> _Active:
        return _Active(job, JobFolder(self._home.jobs / str(job.id)))

    def _workers(self, job: Job) -> int:
        return self._kinds[job.kind].workers(job.spec) if job.kind in self._kinds else 1

    def _attempts(self, job: Job) -> int:
        return job.limits.attempts or self._options.attempts

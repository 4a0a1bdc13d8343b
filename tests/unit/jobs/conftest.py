"""A queue and a scheduler on a real SQLite file, with an engine that only pretends."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.errors import NotFound
from modelyard.core.events import Actor
from modelyard.engines.base import Ending, Engine, TaskStatus
from modelyard.jobs.dispatch import DispatchOptions
from modelyard.jobs.folder import JobFolder
from modelyard.jobs.kinds import JobKind
from modelyard.jobs.queue import JobQueue
from modelyard.jobs.scheduler import JobScheduler, SchedulerOptions
from modelyard.store.database import Store
from modelyard.store.home import Home


class PretendEngine(Engine):
    """Tasks that run until a test ends them."""

    def __init__(self):
        self.tasks, self.states, self.reclaimed, self.cancelled = {}, {}, [], []

    def submit_job(self, task):
        handle = f"task-{len(self.tasks)}"
        self.tasks[handle] = task
        self.states[handle] = TaskStatus(pid=1000 + len(self.tasks))
        return handle

    def cancel_job(self, handle):
        self.cancelled.append(handle)

    start_replica, stop_replica = submit_job, cancel_job

    def status(self, handle):
        if handle not in self.states:
            raise NotFound(handle)
        return self.states[handle]

    def forget(self, handle):
        self.states.pop(handle)

    def reclaim(self, folder):
        self.reclaimed.append(folder)
        return 0

    def end(self, handle, ending=Ending.EXITED, code=0, result=None, memory=0):
        if result is not None:
            JobFolder(self.tasks[handle].folder).result.write_bytes(msgspec.json.encode(result))
        self.states[handle] = TaskStatus(pid=self.states[handle].pid, ending=ending, exit_code=code, memory_bytes=memory)

    @property
    def last(self):
        return list(self.tasks)[-1]


@dataclass
class Bench:
    store: Store
    home: Home
    clock: ManualClock
    engine: PretendEngine
    finished: list = field(default_factory=list)
    finish_error: Exception | None = None
    fetched: list = field(default_factory=list)
    schedulers: list = field(default_factory=list)

    def __post_init__(self):
        self.kinds = {
            "train": JobKind(run="x:run", check=lambda _, spec: spec, inputs=lambda job: job.spec.get("inputs", {}), finish=self._finish)
        }
        self.queue = JobQueue(self.store, self.home, self.kinds, self.clock, lambda: None)
        self.actor = Actor(name="ada", workspace_id=1)

    def _finish(self, job, folder, result):
        if self.finish_error:
            raise self.finish_error
        self.finished.append(job.id)
        return {**result, "stored": True}

    def _fetch(self, digest, to: Path):
        self.fetched.append(digest)
        to.write_text(digest)

    def scheduler(self, concurrency=1, dispatch=None, **options):
        made = JobScheduler(
            store=self.store,
            home=self.home,
            engine=self.engine,
            kinds=self.kinds,
            fetch=self._fetch,
            options=SchedulerOptions(command=("run",), dispatch=DispatchOptions(jobs=concurrency, **(dispatch or {})), **options),
            clock=self.clock,
        )
        self.schedulers.append(made)
        return made

    def submit(self, **changes):
        return self.queue.submit(self.actor, "train", {"target": "y"}, **changes)

    def get(self, job):
        return self.queue.get(1, job.id)

    def tick(self, scheduler):
        """One tick after everything on threads is done."""
        for active in list(scheduler._active.values()):
            for future in (active.preparing, active.finishing):
                if future is not None:
                    future.exception(timeout=10)
        scheduler.tick()

    def run_until_started(self, scheduler):
        scheduler.tick()
        self.tick(scheduler)


@pytest.fixture
def bench(tmp_path):
    clock = ManualClock()
    home = Home(tmp_path / "home")
    home.create()
    store = Store.open(f"sqlite:///{home.database}", clock)
    store.migrate()
    made = Bench(store, home, clock, PretendEngine())
    yield made
    for scheduler in made.schedulers:
        scheduler._threads.shutdown()
    store.close()

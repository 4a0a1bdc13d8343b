"""The engine of one machine: each task a child process that leads a session of its own."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from math import ceil
from pathlib import Path

from modelyard.core.clock import Clock, SystemClock
from modelyard.core.errors import NotFound, Unavailable
from modelyard.engines.base import Ending, Engine, Task, TaskStatus
from modelyard.engines.processes import (
    JOB,
    MARK,
    PARENT,
    REPLICA,
    Rank,
    kill_all,
    kill_group,
    marked_processes,
    out_of_memory_kills,
    session_memory,
    yield_to_serving,
)

DATA_SLACK = 2**29
"""Address space a process may reserve beyond its memory limit: thread stacks and allocator pools that are never touched."""
LOOK_NS = 500_000_000
HURRY_NS = 100_000_000


class _Running:
    """One task with its process."""

    def __init__(self, task: Task, process: subprocess.Popen[bytes], started_ns: int, cores: set[int]) -> None:
        self.task = task
        self.cores = cores
        self.process = process
        self.started_ns = started_ns
        self.kills_before = out_of_memory_kills()
        self.asked: Ending | None = None
        self.deadline_ns = 0
        self.peak = 0
        self.next_look_ns = 0
        self.ended: TaskStatus | None = None

    def ask(self, why: Ending, now_ns: int) -> None:
        """Sends SIGTERM and sets the time of SIGKILL; the first reason counts."""
        if self.asked is None:
            self.asked = why
            self.deadline_ns = now_ns + int(self.task.grace_seconds * 1e9)
            kill_group(self.process.pid, signal.SIGTERM)

    def look(self, now_ns: int) -> None:
        """Keeps the limits and the grace period."""
        task = self.task
        if self.asked is not None:
            if now_ns >= self.deadline_ns:
                kill_group(self.process.pid, signal.SIGKILL)
            return
        if task.wall_seconds and now_ns - self.started_ns > task.wall_seconds * 1e9:
            self.ask(Ending.WALL, now_ns)
        elif now_ns >= self.next_look_ns:
            used = session_memory(self.process.pid)
            self.peak = max(self.peak, used)
            self.next_look_ns = now_ns + (HURRY_NS if task.memory_bytes and used * 2 > task.memory_bytes else LOOK_NS)
            if task.memory_bytes and used > task.memory_bytes:
                self.asked = Ending.MEMORY
                self.deadline_ns = now_ns
                kill_group(self.process.pid, signal.SIGKILL)

    def reap(self) -> TaskStatus | None:
        """The final status once the leader has ended; by then everybody else in its group is killed."""
        if not _leader_ended(self.process):
            return None
        # The leader is not reaped yet, so its group's number cannot belong to anybody else.
        kill_group(self.process.pid, signal.SIGKILL)
        kill_all(marked_processes(self.task.folder))
        code = self.process.wait()
        ending = self.asked or (Ending.EXITED if code >= 0 else Ending.CRASHED)
        if code == -signal.SIGKILL and self.asked is None and out_of_memory_kills() > self.kills_before:
            ending = Ending.MEMORY
        self.ended = TaskStatus(pid=self.process.pid, ending=ending, exit_code=code, memory_bytes=self.peak)
        return self.ended


class LocalEngine(Engine):
    """Child processes of this process. ``environment`` is all that tasks get of the outer one."""

    def __init__(self, environment: Mapping[str, str], clock: Clock | None = None) -> None:
        self._environment = dict(environment)
        self._clock = clock or SystemClock()
        self._tasks: dict[str, _Running] = {}
        self._count = 0

    def start_replica(self, task: Task) -> str:
        """Starts the replica's process; see ``Engine``."""
        return self._start(task, REPLICA)

    def stop_replica(self, handle: str) -> None:
        """Sends SIGTERM to the replica's group; see ``Engine``."""
        self.cancel_job(handle)

    def submit_job(self, task: Task) -> str:
        """Starts the task's process; see ``Engine``."""
        return self._start(task, JOB)

    def _start(self, task: Task, rank: Rank) -> str:
        environment = {**self._environment, **task.environment, MARK: str(task.folder), PARENT: str(os.getpid())}
        try:
            with task.log.open("ab") as log:
                process = subprocess.Popen(
                    task.command,
                    cwd=task.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise Unavailable(f"No process could be started: {error.strerror}; it is tried again.", retry_after=5.0) from error
        yield_to_serving(process.pid, rank)
        cores = self._cores(task)
        _confine(process.pid, task, cores)
        self._count += 1
        handle = f"{process.pid}-{self._count}"
        self._tasks[handle] = _Running(task, process, self._clock.monotonic_ns(), cores)
        return handle

    def cancel_job(self, handle: str) -> None:
        """Sends SIGTERM to the task's group; see ``Engine``."""
        running = self._find(handle)
        if running.ended is None:
            running.ask(Ending.CANCELLED, self._clock.monotonic_ns())

    def status(self, handle: str) -> TaskStatus:
        """Looks at the process and keeps its limits; see ``Engine``."""
        running = self._find(handle)
        if running.ended is None and running.reap() is None:
            running.look(self._clock.monotonic_ns())
            return TaskStatus(pid=running.process.pid, memory_bytes=running.peak)
        return running.ended or TaskStatus(pid=running.process.pid)

    def forget(self, handle: str) -> None:
        """Kills what is left and drops the handle; see ``Engine``."""
        running = self._tasks.pop(handle, None)
        if running is not None and running.ended is None:
            kill_group(running.process.pid, signal.SIGKILL)
            kill_all(marked_processes(running.task.folder))
            running.process.wait()

    def reclaim(self, folder: Path) -> int:
        """Kills processes that carry the folder's mark; see ``Engine``."""
        found: set[int] = set()
        for _ in range(50):  # a process that forks meanwhile is caught by the next look
            left = marked_processes(folder)
            if not left:
                break
            found.update(left)
            kill_all(left)
            time.sleep(0.02)
        return len(found)

    def _cores(self, task: Task) -> set[int]:
        """The cores that a task is kept to, those that fewest tasks use; none when it may use all."""
        if not task.cores or not hasattr(os, "sched_getaffinity"):
            return set()
        there = sorted(os.sched_getaffinity(0))
        wanted = ceil(task.cores)
        if wanted >= len(there):
            return set()
        users = {core: sum(core in running.cores for running in self._tasks.values() if running.ended is None) for core in there}
        # The last ones first: workers that are bound to cores tend to be bound to the first.
        return set(sorted(there, key=lambda core: (users[core], -core))[:wanted])

    def _find(self, handle: str) -> _Running:
        try:
            return self._tasks[handle]
        except KeyError:
            raise NotFound(f"No task {handle!r} runs here.") from None


def _leader_ended(process: subprocess.Popen[bytes]) -> bool:
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None


def _confine(pid: int, task: Task, cores: set[int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, ValueError):
        if cores:
            os.sched_setaffinity(pid, cores)
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        if task.memory_bytes:
            # One huge allocation is refused at once; what grows slowly is caught by looking.
            limit = task.memory_bytes + DATA_SLACK
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))

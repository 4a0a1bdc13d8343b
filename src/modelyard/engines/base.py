"""The seam between what should run and the machines that run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A program to run on behalf of a job or as a replica. Its folder is its whole world: it reads and writes there and nowhere else."""

    folder: Path
    """Absolute; the working directory, and the mark by which leftovers of the task are recognised."""
    command: tuple[str, ...]
    log: Path
    """Standard output and error are appended here."""
    environment: Mapping[str, str] = {}
    """Added to the engine's own environment."""
    cores: float = 0.0
    """How many CPU cores it is kept to, rounded up; 0 for all."""
    memory_bytes: int = 0
    """What all its processes may use together; 0 for no limit."""
    wall_seconds: float = 0.0
    """How long it may take; 0 for no limit."""
    grace_seconds: float = 5.0
    """Time between being asked to end and being killed."""


class Ending(StrEnum):
    """How a task ended."""

    EXITED = "exited"  # by itself; see the exit code
    CRASHED = "crashed"  # by a signal that the engine did not send
    CANCELLED = "cancelled"  # because ``cancel_job`` or ``stop_replica`` was called
    MEMORY = "memory"  # it used more memory than it may, or the machine ran out
    WALL = "wall"  # it took longer than it may


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a task. While it runs ``ending`` is None."""

    pid: int
    ending: Ending | None = None
    exit_code: int = 0
    """The exit status; the negated signal where one ended it."""
    memory_bytes: int = 0
    """The most memory that was seen in use."""


class Engine(ABC):
    """Runs tasks in processes of their own.

    One thread uses an engine. Limits and grace periods are kept when ``status`` is called, so callers poll several times a
    second. When ``status`` first reports an ending, no process of the task is left, children and grandchildren included;
    the handle may then be forgotten with ``forget``. When the process that owns the engine dies, its tasks die too or are
    found by ``reclaim`` of the next one.

    A replica is a task that calls wait for: it runs with the priority of serving processes and has no end of its own. Where it
    listens, and what it says there, is between its program and its callers.
    """

    @abstractmethod
    def start_replica(self, task: Task) -> str:
        """Starts a task that answers calls and returns its handle at once.

        Raises Unavailable when no process can be started now.
        """

    @abstractmethod
    def stop_replica(self, handle: str) -> None:
        """Asks a replica to answer what it has and end; after its grace period it is killed. Calling it again does nothing."""

    @abstractmethod
    def submit_job(self, task: Task) -> str:
        """Starts a task and returns its handle at once.

        Raises Unavailable when no process can be started now.
        """

    @abstractmethod
    def cancel_job(self, handle: str) -> None:
        """Asks a task to end; after its grace period it is killed. Calling it again, or for an ended task, does nothing."""

    @abstractmethod
    def status(self, handle: str) -> TaskStatus:
        """Where a task stands.

        Raises NotFound for an unknown handle.
        """

    @abstractmethod
    def forget(self, handle: str) -> None:
        """Drops what is kept of a task; one that still runs is killed first."""

    @abstractmethod
    def reclaim(self, folder: Path) -> int:
        """Ends every process that a dead owner's task left behind in ``folder``; how many there were."""

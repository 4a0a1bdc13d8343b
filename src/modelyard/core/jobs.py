"""Long work: states, legal moves, progress."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from modelyard.core.errors import Conflict


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # waits for its turn
    RUNNING = "running"  # a child process works on it
    SUCCEEDED = "succeeded"  # done, its result is stored
    FAILED = "failed"  # ended badly; ``error`` says why
    CANCELLED = "cancelled"  # ended because somebody asked

    @property
    def ended(self) -> bool:
        return not LEGAL_MOVES[self]


LEGAL_MOVES: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.FAILED}),
    # Back to QUEUED is the retry after its process or the controller was killed.
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


def check_move(old: JobStatus, new: JobStatus) -> None:
    """Raises Conflict unless a job may go from ``old`` to ``new``."""
    if new not in LEGAL_MOVES[old]:
        raise Conflict(f"A job that is {old} cannot become {new}.")


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a job is. ``fraction`` is between 0 and 1; ``eta_seconds`` is negative while unknown."""

    stage: str = ""
    fraction: float = 0.0
    message: str = ""
    eta_seconds: float = -1.0


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job's process may use; 0 means the platform's default."""

    memory_bytes: int = 0
    wall_seconds: float = 0.0
    attempts: int = 0
    cores: float = 0.0
    """CPU cores; a job is kept to as many, rounded up. Where several workers share the work, each has as many."""
    gpus: int = 0
    """Of each worker, where there are several."""


class WorkspacePool(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace's jobs may hold at the same time; 0 means no bound but the platform's own."""

    workspace_id: int
    cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0
    jobs: int = 0
    share: float = 1.0
    """Its weight beside other workspaces under the policy ``fair``."""
    updated_ns: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of long work."""

    id: int
    workspace_id: int
    kind: str
    """A line in the table of job kinds: ``train``, ``predict``, …"""
    spec: dict[str, Any]
    """The kind's own input, checked when submitted; large inputs are datasets or blobs named here."""
    status: JobStatus = JobStatus.QUEUED
    priority: int = 0
    """Higher runs sooner."""
    limits: Limits = Limits()
    progress: Progress = Progress()
    result: dict[str, Any] = {}
    error: str = ""
    attempt: int = 0
    pid: int = 0
    created_by: str = ""
    created_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    cancel_requested: bool = False

"""Which waiting jobs start now: a pure function over the state of a pool.

A policy orders the line; ``choose`` walks it. The first job that does not fit gets a **reservation**: the earliest time at which enough
is free, by the predicted ends of what runs. Jobs behind it may start before it (backfilling) only when they end before that time or
leave it what it needs (EASY: Lifka, "The ANL/IBM SP scheduling system", 1995). So a large job is never passed over for ever.

Nobody starves either: a turn's key grows with the time of submission, so every job comes to the front in the end, however many
shorter, larger or more urgent ones follow it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from modelyard.core.resources import EVERYTHING, NOTHING, Resources

DEPTH = 1000
"""Jobs behind one that waits for room that are looked at for backfilling; further back, the search costs more than it finds."""


class Policy(StrEnum):
    """Whose turn it is."""

    FIRST_COME = "first-come"  # in order of submission
    SHORTEST = "shortest"  # least predicted time first
    LARGEST = "largest"  # most predicted work first
    PRIORITY = "priority"  # highest priority first, then in order of submission
    FAIR = "fair"  # the workspace that had least of its share first, then by priority


class Waiting(NamedTuple):
    """A job in the line. Times are in seconds of one clock."""

    id: int
    workspace_id: int
    needs: Resources
    seconds: float
    """How long it is predicted to run."""
    submitted_s: float
    priority: int = 0


class Running(NamedTuple):
    """A job that holds resources."""

    workspace_id: int
    needs: Resources
    ends_s: float
    """When it is predicted to end."""


class Quota(NamedTuple):
    """What one workspace may have at a time, and its share beside others."""

    most: Resources = EVERYTHING
    jobs: int = 2**31 - 1
    share: float = 1.0


@dataclass(frozen=True)
class Aging:
    """How much waiting counts."""

    seconds_per_second: float = 0.1
    """Under ``shortest`` and ``largest``: seconds of predicted time that a second of waiting makes up for."""
    seconds_per_priority: float = 600.0
    """Under ``priority`` and ``fair``: seconds of waiting that are worth one step of priority."""


@dataclass(frozen=True)
class Pool:
    """What jobs share."""

    capacity: Resources
    jobs: int = 2**31 - 1
    """Most that run at the same time."""
    quotas: Mapping[int, Quota] = field(default_factory=dict)
    """By workspace; none for those that may have everything."""

    def quota(self, workspace_id: int) -> Quota:
        """What binds a workspace."""
        return self.quotas.get(workspace_id, _FREE)

    def refuses(self, workspace_id: int, needs: Resources) -> str:
        """Why a job could never start here, as the end of a sentence; empty when it could."""
        for allowed, whose in ((self.capacity, "the pool has"), (self.quota(workspace_id).most, "its workspace may have")):
            if not needs.within(allowed):
                return f"needs more than {whose}: {_told(needs, allowed)}"
        return ""


_FREE = Quota()


def turn(policy: Policy, job: Waiting, capacity: Resources, aging: Aging) -> float:
    """The key that orders the line, least first; it does not change while the job waits. Under ``fair``: within its workspace."""
    if policy is Policy.FIRST_COME:
        return job.submitted_s
    if policy is Policy.SHORTEST:
        return aging.seconds_per_second * job.submitted_s + job.seconds
    if policy is Policy.LARGEST:
        return aging.seconds_per_second * job.submitted_s - _share(job.needs, capacity) * job.seconds
    return job.submitted_s - aging.seconds_per_priority * job.priority


def in_turn(policy: Policy, line: Sequence[Waiting], used: Mapping[int, float], pool: Pool) -> Iterable[Waiting]:
    """The line as it is to be walked. ``line`` is sorted by ``turn``; ``used`` is what each workspace has had lately, in core-seconds."""
    return line if policy is not Policy.FAIR else _by_share(line, used, pool)


def choose(line: Iterable[Waiting], running: Sequence[Running], pool: Pool, now_s: float, depth: int = DEPTH) -> list[Waiting]:
    """The jobs that start now, in order. ``line`` is in turn.

    Never gives out more than the pool or a quota has. Jobs that need more than the whole pool are passed over.
    """
    room = _Room(running, pool)
    chosen: list[Waiting] = []
    reserved_s, spare = 0.0, None
    behind = 0
    for job in line:
        if room.full or behind > depth:
            break
        behind += spare is not None
        if not room.allows(job):
            continue
        if not job.needs.within(room.free):
            if spare is None and job.needs.within(pool.capacity):
                ends = [*running, *(Running(other.workspace_id, other.needs, now_s + other.seconds) for other in chosen)]
                reserved_s, spare = _reserve(job.needs, room.free, ends, now_s)
            continue
        if spare is not None and now_s + job.seconds > reserved_s:
            if not job.needs.within(spare):
                continue
            spare = spare.minus(job.needs)
        chosen.append(job)
        room.take(job.workspace_id, job.needs)
    return chosen


class _Room:
    """What is left of a pool while jobs are chosen."""

    def __init__(self, running: Sequence[Running], pool: Pool) -> None:
        self._quotas = pool.quotas
        self.free = pool.capacity
        self._places = pool.jobs
        self._held: dict[int, Resources] = {}
        self._counts: dict[int, int] = {}
        for job in running:
            self.take(job.workspace_id, job.needs)

    @property
    def full(self) -> bool:
        return self._places <= 0 or self.free.cores <= 0

    def allows(self, job: Waiting) -> bool:
        """Whether the workspace's quota has room."""
        quota = self._quotas.get(job.workspace_id)
        if quota is None:
            return True
        if self._counts.get(job.workspace_id, 0) >= quota.jobs:
            return False
        return self._held.get(job.workspace_id, NOTHING).plus(job.needs).within(quota.most)

    def take(self, workspace_id: int, needs: Resources) -> None:
        self.free = self.free.minus(needs)
        self._places -= 1
        self._held[workspace_id] = self._held.get(workspace_id, NOTHING).plus(needs)
        self._counts[workspace_id] = self._counts.get(workspace_id, 0) + 1


def _reserve(needs: Resources, free: Resources, running: Iterable[Running], now_s: float) -> tuple[float, Resources]:
    """When there will be room, and what will be left beside it."""
    at_s = now_s
    for job in sorted(running, key=lambda job: job.ends_s):
        free = free.plus(job.needs)
        at_s = max(at_s, job.ends_s)
        if needs.within(free):
            break
    return at_s, free.minus(needs)


def _by_share(line: Iterable[Waiting], used: Mapping[int, float], pool: Pool) -> Iterator[Waiting]:
    """Again and again the first job of the workspace that has had least, counting what it would get by this."""
    queues: dict[int, deque[Waiting]] = {}
    for job in line:
        queues.setdefault(job.workspace_id, deque()).append(job)
    heap = [(used.get(workspace, 0.0) / pool.quota(workspace).share, workspace) for workspace in queues]
    heapq.heapify(heap)
    while heap:
        had, workspace = heapq.heappop(heap)
        queue = queues[workspace]
        job = queue.popleft()
        yield job
        if queue:
            cores = max(job.needs.cores, 1.0)
            heapq.heappush(heap, (had + cores * job.seconds / pool.quota(workspace).share, workspace))


def _share(needs: Resources, capacity: Resources) -> float:
    """The part of the pool that a job takes, by what it takes most of."""
    parts = [wanted / there for wanted, there in zip(needs, capacity, strict=True) if there]
    return max(parts, default=0.0)


def _told(needs: Resources, allowed: Resources) -> str:
    told = []
    if needs.cores > allowed.cores:
        told.append(f"{needs.cores:g} cores of {allowed.cores:g}")
    if needs.memory_bytes > allowed.memory_bytes:
        told.append(f"{needs.memory_bytes / 2**30:.1f} GiB of memory of {allowed.memory_bytes / 2**30:.1f}")
    if needs.gpus > allowed.gpus:
        told.append(f"{needs.gpus} GPUs of {allowed.gpus}")
    return ", ".join(told)

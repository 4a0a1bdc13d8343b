"""One replica process as its keeper sees it: started, reached, tried, drained, buried."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.core.deployments import ReplicaPolicy, ServedVersion
from modelyard.core.errors import Unavailable
from modelyard.core.frames import Frame, Op, State
from modelyard.engines.base import Ending, Engine, Task, TaskStatus
from modelyard.serving.replicas.link import ReplicaLink
from modelyard.serving.replicas.places import Place, ReplicaState
from modelyard.serving.replicas.sockets import SOCKET
from modelyard.serving.replicas.spec import ReplicaSpec, left_failure

HEALTH_S = 10.0
ILL_S = 60.0
"""A replica that does not answer for so long is ended."""
STUCK_S = 900.0
"""So long it may compute without answering any call."""
FAILED_TRIALS = 2
MAX_LOG_BYTES = 16 << 20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_read_state = msgspec.msgpack.Decoder(State).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A version laid out to be started."""

    artifact: Path
    command: tuple[str, ...]
    """To which the replica's folder is added."""
    environment: Mapping[str, str] = field(default_factory=dict)
    program: str = ""
    """What starts the format's own server, for a format that has one."""
    home: Path | None = None
    """Given where its files may hold secrets that the home has sealed."""
    confined: bool = True
    """Whether its format works without reaching other hosts and programs."""

    @property
    def stands(self) -> bool:
        """Whether its files are still there."""
        return self.artifact.is_dir()


class Grounds(Protocol):
    """Where replicas live; see ``fleet.FleetOptions``."""

    @property
    def folder(self) -> Path: ...
    @property
    def logs(self) -> Path: ...
    @property
    def drain_seconds(self) -> float: ...


class Member:
    """A replica process. Belongs to the event loop."""

    def __init__(self, engine: Engine, task: Task, policy: ReplicaPolicy, gpus: tuple[str, ...]) -> None:
        """Starts the process; raises Unavailable when that is not possible now."""
        self._engine, self._task, self._policy = engine, task, policy
        self._handle = handle = engine.start_replica(task)
        self.name, self.gpus = task.folder.name, gpus
        self.state = ReplicaState.STARTING
        self.asked = False
        """Whether it was asked to end."""
        self.told_why = False
        """Whether it said itself why it cannot serve."""
        self._status: TaskStatus = engine.status(handle)
        self._started = time.monotonic()
        self._ready_at = 0.0
        self._why = ""
        self._link: ReplicaLink | None = None
        self._reaching: asyncio.Task[None] | None = None
        self._health = _Health()

    @classmethod
    def start(cls, engine: Engine, version: ServedVersion, prepared: Prepared, grounds: Grounds, gpus: tuple[str, ...]) -> Member:
        """Starts a process; raises Unavailable when that is not possible now."""
        policy = version.replicas or ReplicaPolicy()
        name = f"{version.id}-{secrets.token_hex(4)}"
        folder, log = grounds.folder / name, log_of(grounds.logs, version.id)
        try:
            folder.mkdir(mode=0o700)
            if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))
            ReplicaSpec(
                artifact=str(prepared.artifact),
                entry=version.artifact.entry,
                format=version.artifact.format,
                threads=policy.threads,
                program=prepared.program,
                concurrency=policy.concurrency,
                drain_seconds=grounds.drain_seconds,
                home=str(prepared.home),
                workspace_id=version.workspace_id,
                sealed=prepared.home is not None,
                reach=policy.reach if prepared.confined else "machine",
                gpus=policy.gpus > 0,
            ).write(folder)
        except OSError as error:
            raise Unavailable(f"A replica's folder cannot be made: {error.strerror}.") from error
        environment = {"MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1", **dict.fromkeys(_THREADS, str(policy.threads))}
        if policy.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        task = Task(
            folder=folder,
            command=(*prepared.command, str(folder)),
            log=log,
            environment=environment | dict(prepared.environment),
            memory_bytes=policy.memory_bytes,
            grace_seconds=grounds.drain_seconds + 5.0,
        )
        return cls(engine, task, policy, gpus)

    @property
    def leaving(self) -> bool:
        """Whether it shall end."""
        return self.asked or bool(self._why)

    def place(self) -> Place:
        """What workers are told of it."""
        return Place(name=self.name, socket=str(self._task.folder / SOCKET), pid=self._status.pid, state=self.state, gpus=self.gpus)

    def fits(self, policy: ReplicaPolicy | None) -> bool:
        """Whether it runs as the policy says now."""
        return policy is not None and _shape(policy) == _shape(self._policy)

    def rank(self) -> tuple[bool, float]:
        """Who stays first: ready ones, then old ones."""
        return self.state is not ReplicaState.READY, self._started

    def ready_for(self, now: float) -> float:
        """Seconds since it became ready; 0 before."""
        return now - self._ready_at if self._ready_at else 0.0

    def look(self, now: float) -> None:
        """Sees whether it lives, is ready and well."""
        self._status = self._engine.status(self._handle)
        if self._status.ending is not None or self.asked:
            return
        if self._link is None:
            if now - self._started > self._policy.start_seconds:
                self._end(f"it was not ready within {self._policy.start_seconds:g} s")
            elif self._reaching is None and (self._task.folder / SOCKET).exists():
                self._reaching = asyncio.get_running_loop().create_task(self._reach())
        elif why := self._health.look(self._link, now):
            self._end(why)

    def drain(self) -> None:
        """Asks it to answer what it has and end."""
        if not self.asked:
            self.asked, self.state = True, ReplicaState.DRAINING
            self._engine.stop_replica(self._handle)

    def end_reason(self) -> str | None:
        """Why it has ended; None while it runs."""
        status = self._status
        if status.ending is None:
            return None
        said = left_failure(self._task.folder)
        self.told_why = bool(said)
        if said or self._why:
            return said or self._why
        if status.ending is Ending.MEMORY:
            limit = f"its {self._policy.memory_bytes} bytes" if self._policy.memory_bytes else "the machine has"
            return f"it used more memory than {limit}; raise memory_bytes of the policy's replicas, or make the model smaller"
        if status.exit_code < 0:
            return f"its process was ended by signal {-status.exit_code}; its log may say more"
        return f"its process ended with status {status.exit_code}; its log says why"

    def clear(self) -> None:
        """Forgets an ended process and what it left."""
        if self._reaching is not None:
            self._reaching.cancel()
        if self._link is not None:
            self._link.disconnect()
        self._engine.forget(self._handle)
        shutil.rmtree(self._task.folder, ignore_errors=True)

    def _end(self, why: str) -> None:
        """Ends a replica that is not well; it counts as a death."""
        self._why = why
        self.state = ReplicaState.DRAINING
        self._engine.stop_replica(self._handle)

    async def _reach(self) -> None:
        try:
            await ReplicaLink.open(self.name, self._task.folder / SOCKET, self._opened, self._closed)
        except OSError:
            self._reaching = None  # not listening yet: the next look tries again

    def _opened(self, link: ReplicaLink) -> None:
        self._link, self._ready_at = link, time.monotonic()
        if not self.asked:
            self.state = ReplicaState.READY

    def _closed(self, _link: ReplicaLink) -> None:
        if not self.asked and not self._why:
            self.state = ReplicaState.DRAINING  # its end is seen by the next look


def log_of(logs: Path, version_id: int) -> Path:
    """Where the replicas of a version log."""
    return logs / f"replica-{version_id}.log"


def _shape(policy: ReplicaPolicy) -> tuple[Any, ...]:
    return policy.concurrency, policy.threads, policy.memory_bytes, policy.gpus, policy.reach


class _Health:
    """Asks a replica how it is and, when it has nothing to do, lets its model be tried."""

    def __init__(self) -> None:
        self._asked_at = 0.0
        self._waiting = False
        self._state = State()
        self._progress = (-1, 0.0)
        """Calls answered, and when there last was no reason to worry."""
        self._trial = _Trial()

    def look(self, link: ReplicaLink, now: float) -> str:
        """Why it must be ended; empty while it is well."""
        if self._trial.failed >= FAILED_TRIALS:
            return f"its model fails on inputs that it accepted before: {self._trial.why}"
        if self._waiting:
            return f"it did not answer for {ILL_S:g} s" if now - self._asked_at > ILL_S else ""
        if self._state.answered != self._progress[0] or not self._state.outstanding:
            self._progress = (self._state.answered, now)
        if now - self._progress[1] > STUCK_S:
            return f"it computed for {STUCK_S:g} s without answering any call"
        if now - self._asked_at > HEALTH_S:
            if self._asked_at and not self._state.outstanding and not self._trial.waiting:
                self._trial.waiting = True
                link.ask(Op.HEALTH, self._trial, b"run")
            self._asked_at, self._waiting = now, True
            link.ask(Op.HEALTH, self)
        return ""

    def answered(self, frame: Frame) -> None:
        self._waiting, self._state = False, _read_state(frame.head.payload)

    def lost(self) -> None:
        """Its end is seen elsewhere."""


class _Trial:
    """Waits for what came of a trial of the model."""

    def __init__(self) -> None:
        self.waiting = False
        self.failed = 0
        """In a row."""
        self.why = ""

    def answered(self, frame: Frame) -> None:
        self.waiting, self.why = False, _read_state(frame.head.payload).failed
        self.failed = self.failed + 1 if self.why else 0

    def lost(self) -> None:
        """Its end is seen elsewhere."""

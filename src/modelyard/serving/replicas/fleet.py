"""The replicas of one machine: as many as the snapshot and the demand of its workers ask for, kept alive, told to workers.

Belongs to the engine's process, which outlives the controller, so calls go on while that is away. Uses an ``Engine``; what it knows
stands in the directory file a moment later.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelyard.core.deployments import ServedVersion
from modelyard.core.errors import ModelyardError, Unavailable
from modelyard.engines.base import Engine
from modelyard.serving.replicas.autoscale import Scale
from modelyard.serving.replicas.member import Member, Prepared
from modelyard.serving.replicas.places import Demand, Directory, DirectoryFile, Places, ReplicaState
from modelyard.store.snapshot import Snapshot

logger = logging.getLogger(__name__)
FIRST_DELAY_S, LAST_DELAY_S = 0.2, 60.0
STABLE_S = 30.0
SERVED_DELAY_S = 5.0
PATIENT_DEATHS = 3
"""So many deaths in a row before callers are told of a start in vain; until then they wait for the next."""
IDLE_TICK_S = 0.1
"""How often is looked for a new snapshot while nothing shall run here."""
LINGER_S = 5.0
"""How long replicas of a version that is not wanted any more stay, for calls under way."""


class Snapshots(Protocol):
    """Where published states come from; see ``store.snapshot.SnapshotReader``."""

    @property
    def number(self) -> int:
        """Number of the newest; 0 while there is none. Cheap."""

    def load(self) -> Snapshot:
        """The newest; raises Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """Where replicas live and what they may use."""

    folder: Path
    """For the replicas' own folders, sockets included."""
    logs: Path
    gpus: tuple[str, ...] = ()
    """Device ids that may be given away."""
    drain_seconds: float = 20.0
    tick_s: float = 0.02


@dataclass(slots=True)
class _Crew:
    """The replicas of one version."""

    version: ServedVersion
    scale: Scale = field(default_factory=Scale)
    members: list[Member] = field(default_factory=list)
    prepared: Prepared | None = None
    preparing: Future[Prepared] | None = None
    deaths: int = 0
    start_at: float = 0.0
    reason: str = ""
    """Why it cannot be started, as far as the last attempts told."""
    lacking: str = ""
    """What of the machine is not free for it now."""
    gone_at: float = 0.0
    """When the snapshot lost it; 0 while it has it."""

    def failed(self, reason: str, now: float, *, surely: bool = False, served: bool = False) -> None:
        """Notes a start in vain, or the death of a replica that had ``served``, and when to try again."""
        self.deaths += 1
        longest = SERVED_DELAY_S if served else LAST_DELAY_S
        self.start_at = now + min(FIRST_DELAY_S * 2 ** (self.deaths - 1), longest)
        if surely or (self.deaths >= PATIENT_DEATHS and not served):
            self.reason = reason


class Fleet:
    """``run`` belongs to the event loop; ``prepare`` is called in threads and lays out what a version needs to start."""

    def __init__(
        self,
        engine: Engine,
        snapshots: Snapshots,
        demand: Callable[[], Mapping[int, Demand]],
        prepare: Callable[[ServedVersion], Prepared],
        *,
        directory: DirectoryFile,
        options: FleetOptions,
    ) -> None:
        self._engine, self._snapshots, self._demand, self._prepare = engine, snapshots, demand, prepare
        self._directory, self._options = directory, options
        self._crews: dict[int, _Crew] = {}
        self._seen = 0
        self._told: Directory | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="prepare")
        options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def run(self, stop: asyncio.Event) -> None:
        """Keeps replicas as they shall be until ``stop`` is set, then drains them all."""
        for left in self._options.folder.iterdir():
            self._engine.reclaim(left)
            shutil.rmtree(left, ignore_errors=True)
        try:
            while not stop.is_set():
                self.look()
                await asyncio.sleep(self._options.tick_s if self._crews else IDLE_TICK_S)
            await self._drain()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def look(self) -> None:
        """One look: who shall run, who runs, who must begin or end; and what workers are told."""
        now = time.monotonic()
        if self._snapshots.number != self._seen:
            self._take(now)
        demand = self._demand() if self._crews else {}
        for version_id, crew in list(self._crews.items()):
            self._bury(crew, now)
            wanted = crew.scale.look(crew.version.replicas, demand.get(version_id, Demand(0, 0)), now) if crew.version.replicas else 0
            if crew.gone_at:
                wanted = 0 if now - crew.gone_at > LINGER_S else len(crew.members)
            self._match(crew, wanted, now)
            if crew.gone_at and not crew.members:
                del self._crews[version_id]
        self._tell()

    def _take(self, now: float) -> None:
        try:
            snapshot = self._snapshots.load()
        except Unavailable:
            return  # the controller publishes another; what runs stays
        self._seen = snapshot.number
        wished = {version.id: version for version in snapshot.versions.values() if version.replicas is not None}
        for version_id, version in wished.items():
            crew = self._crews.setdefault(version_id, _Crew(version))
            if crew.gone_at or crew.version.replicas != version.replicas:  # another policy may help
                crew.deaths, crew.start_at, crew.reason, crew.lacking = 0, 0.0, "", ""
            crew.version, crew.gone_at = version, 0.0
        for version_id, crew in self._crews.items():
            if version_id not in wished and not crew.gone_at:
                crew.gone_at = now

    def _bury(self, crew: _Crew, now: float) -> None:
        """Takes in what has become of each replica."""
        for member in list(crew.members):
            member.look(now)
            if member.state is ReplicaState.READY:
                crew.reason = ""
                if member.ready_for(now) > STABLE_S:
                    crew.deaths = 0
            reason = member.end_reason()
            if reason is None:
                continue
            crew.members.remove(member)
            member.clear()
            if not member.asked:
                logger.warning("A replica of %s@%d ended: %s", crew.version.model, crew.version.number, reason)
                crew.failed(reason, now, surely=member.told_why, served=member.ready_for(now) > 0)

    def _match(self, crew: _Crew, wanted: int, now: float) -> None:
        """Starts what is missing and drains what is too much; one of an older policy ends when its successor is ready."""
        live = [member for member in crew.members if not member.leaving]
        fresh = [member for member in live if member.fits(crew.version.replicas)] if not crew.gone_at else live
        for _ in range(wanted - len(fresh)):
            if not self._begin(crew, now):
                break
        ready = sum(member.state is ReplicaState.READY for member in fresh)
        if ready >= wanted:
            for member in live:
                if member not in fresh:
                    member.drain()
        for member in sorted(fresh, key=Member.rank)[wanted:]:
            member.drain()

    def _begin(self, crew: _Crew, now: float) -> bool:
        """Starts one replica; False when that has to wait."""
        policy = crew.version.replicas
        if policy is None or now < crew.start_at or not self._ready_to_start(crew, now) or crew.prepared is None:
            return False
        taken = {gpu for other in self._crews.values() for member in other.members for gpu in member.gpus}
        free = [gpu for gpu in self._options.gpus if gpu not in taken]
        if len(free) < policy.gpus:
            crew.lacking = f"it needs {policy.gpus} GPUs and {len(free)} of this machine's {len(self._options.gpus)} are free"
            return False
        crew.lacking = ""
        try:
            member = Member.start(self._engine, crew.version, crew.prepared, self._options, tuple(free[: policy.gpus]))
        except ModelyardError as error:
            crew.failed(error.message, now, surely=True)
            return False
        crew.members.append(member)
        return True

    def _ready_to_start(self, crew: _Crew, now: float) -> bool:
        """Whether the version's files are laid out; if not, that is begun."""
        if crew.prepared is not None and crew.prepared.stands:
            return True
        if crew.preparing is None:
            crew.preparing = self._threads.submit(self._prepare, crew.version)
        if not crew.preparing.done():
            return False
        done, crew.preparing = crew.preparing, None
        try:
            crew.prepared = done.result()
        except ModelyardError as error:
            logger.warning("No replica of %s@%d can be started: %s", crew.version.model, crew.version.number, error.message)
            crew.failed(error.message, now, surely=True)
            return False
        return True

    def _tell(self) -> None:
        directory = {
            version_id: Places(
                wanted=max(crew.scale.wanted, 0),
                replicas=tuple(member.place() for member in crew.members),
                reason=crew.reason or crew.lacking,
            )
            for version_id, crew in self._crews.items()
        }
        if directory == self._told:
            return
        try:
            self._directory.write(directory)
        except OSError as error:
            logger.warning("Workers cannot be told where replicas are: %s", error.strerror)
            return
        self._told = directory

    async def _drain(self) -> None:
        for crew in self._crews.values():
            for member in crew.members:
                member.drain()
        self._tell()
        while any(crew.members for crew in self._crews.values()):
            for crew in self._crews.values():
                self._bury(crew, time.monotonic())
            await asyncio.sleep(self._options.tick_s)
        self._tell()

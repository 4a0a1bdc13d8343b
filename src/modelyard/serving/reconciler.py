"""Makes one worker do what the newest snapshot says: keys at once, versions as soon as they are loaded.

It looks at the snapshot's number a few dozen times a second. Versions load one after the other in a thread; when all that a
deployment needs is there, its routes are swapped in one step on the event loop, so a call sees the old ones or the new ones.
What no route needs any more is closed after its last call. A version that cannot be loaded leaves the old routes serving; it
is reported, and tried again later.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from modelyard.core.deployments import DeploymentState, ServedDeployment, ServedVersion
from modelyard.core.errors import Internal, ModelyardError, Unavailable
from modelyard.gate.check import SnapshotHolder
from modelyard.serving.batching import Batcher, BatchOptions, Identity, Runs
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.fairness import FairThreads
from modelyard.serving.loading import unload
from modelyard.serving.policies import Composer, turns_of
from modelyard.serving.replica import Replica
from modelyard.serving.replicas.remote import RemoteReplica
from modelyard.serving.replicas.remotes import Remotes
from modelyard.serving.reports import VersionReport, WorkerReport, write_report
from modelyard.serving.residency import Residency, Resident, in_memory
from modelyard.serving.router import Lane, Routes
from modelyard.serving.statistics import CallStatistics
from modelyard.store.scribe import Behind, at_once
from modelyard.store.snapshot import Snapshot

logger = logging.getLogger(__name__)

_FIRST_RETRY_S = 5.0
_LAST_RETRY_S = 300.0
_REPORT_S = 1.0


class Snapshots(Protocol):
    """Where published states come from; see ``store.snapshot.SnapshotReader``."""

    @property
    def number(self) -> int:
        """Number of the newest; 0 while there is none. Cheap."""

    def load(self) -> Snapshot:
        """The newest; raises Unavailable."""


class Loader(Protocol):
    """Loads versions; see ``loading.VersionLoader``."""

    def load(self, version: ServedVersion) -> Replica:
        """A warm replica; raises ModelyardError. Called in a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerOptions:
    """How a worker reconciles and computes."""

    slot: int
    reports: Path
    """Folder for the worker's report."""
    poll_s: float = 0.03
    compute_threads: int = 2
    """For runs that are too long for the event loop, over all versions."""
    batch: BatchOptions = field(default_factory=BatchOptions)
    memory_bytes: int = 0
    """What versions in this process may take together; 0 for no bound."""
    composer: Composer = field(default_factory=Composer)
    """Makes deployments' routes; see ``policies.PolicyComposer``."""
    behind: Behind = at_once
    """Writes the report."""


@dataclass(slots=True)
class _Failure:
    reason: str
    retry_at: float
    wait_s: float


class Reconciler:
    """One for each worker. ``run`` belongs to the event loop, as does all but the loading itself."""

    def __init__(
        self,
        snapshots: Snapshots,
        holder: SnapshotHolder,
        plane: DataPlane,
        loader: Loader,
        options: ReconcilerOptions,
        *,
        remotes: Remotes | None = None,
    ) -> None:
        self._snapshots = snapshots
        self._remotes = remotes
        """None where every version runs in this process."""
        self._holder = holder
        self._plane = plane
        self._loader = loader
        self._options = options
        self.settled = asyncio.Event()
        """Set once the first snapshot is acted on and all its versions are loaded or refused: the time to begin accepting."""
        self._seen = 0
        self._snapshot: Snapshot | None = None
        self._wanted: frozenset[int] = frozenset()
        self._batchers: dict[int, Batcher] = {}
        self._loading: set[int] = set()
        self._opening: dict[int, Batcher] = {}
        """Versions whose replica processes are not ready yet."""
        self._failures: dict[int, _Failure] = {}
        self._revisions: dict[int, int] = {}
        self._statistics: dict[tuple[int, int], CallStatistics] = {}
        self._changed = True
        self._report_at = 0.0
        self._warned = ""
        self._load_thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._compute_threads = FairThreads(options.compute_threads)
        self._residency: Residency | None = None

    async def run(self) -> None:
        """Follows snapshots until it is cancelled."""
        self._loop = loop = asyncio.get_running_loop()
        if self._options.memory_bytes:
            self._residency = Residency(self._options.memory_bytes, self._loader.load, self._load_thread, loop)
        try:
            while True:
                self.look()
                await asyncio.sleep(self._options.poll_s)
        finally:
            self._plane.accepting = False
            self._wanted = frozenset()
            self._load_thread.shutdown(wait=False, cancel_futures=True)
            self._compute_threads.shutdown(wait=False)

    def look(self) -> None:
        """One look: takes a newer snapshot, tries again what failed, reports what changed."""
        if self._snapshots.number != self._seen:
            self._take()
        self._retry()
        if self._remotes is not None:
            self._remotes.look(self._batchers | self._opening)
            self._admit()
        self._report()

    def _take(self) -> None:
        try:
            snapshot = self._snapshots.load()
        except Unavailable as error:
            if error.message != self._warned:
                self._warned = error.message
                logger.warning("Keeping snapshot %d: %s", self._seen, error.message)
            return
        self._warned = ""
        # Keys, rights and policies hold from here on; versions follow when they are loaded.
        self._reconsider(snapshot)
        self._holder.current = self._snapshot = snapshot
        self._seen = snapshot.number
        self._wanted = frozenset(route.version_id for deployment in snapshot.deployments for route in deployment.routes)
        for gone in self._failures.keys() - self._wanted:
            del self._failures[gone]
        there = {version_id for version_id, batcher in self._batchers.items() if self._placed(snapshot.versions.get(version_id), batcher)}
        for version_id in sorted(self._wanted - there - self._failures.keys() - self._loading - self._opening.keys()):
            self._start(snapshot.versions[version_id])
        self._apply()

    def _reconsider(self, snapshot: Snapshot) -> None:
        """Forgets why replicas could not be had where another policy asks for them now."""
        for version_id, batcher in self._opening.items():
            version = snapshot.versions.get(version_id)
            before = self._snapshot.versions.get(version_id) if self._snapshot is not None else None
            if version is not None and before is not None and version.replicas != before.replicas:
                self._failures.pop(version_id, None)
                if isinstance(batcher.replica, RemoteReplica):
                    batcher.replica.reconsider()

    def _placed(self, version: ServedVersion | None, batcher: Batcher) -> bool:
        """Whether the version runs where it shall: in this process or in replicas."""
        remote = isinstance(batcher.replica, RemoteReplica)
        return version is not None and remote == (version.replicas is not None and self._remotes is not None)

    def _retry(self) -> None:
        now = time.monotonic()
        for version_id, failure in self._failures.items():
            if failure.retry_at <= now and version_id not in self._loading and self._snapshot is not None:
                self._start(self._snapshot.versions[version_id])

    def _start(self, version: ServedVersion) -> None:
        if version.replicas is not None and self._remotes is not None:
            remote = self._remotes.open(version)
            batcher = self._opening[version.id] = self._batcher(version, remote)
            remote.freed = batcher.flush
            return
        self._loading.add(version.id)

        def load() -> Replica | None:
            return self._loader.load(version) if version.id in self._wanted else None

        def ended(future: Future[Replica | None]) -> None:
            if not future.cancelled():
                self._loop.call_soon_threadsafe(self._loaded, version, future)

        self._load_thread.submit(load).add_done_callback(ended)

    def _admit(self) -> None:
        """Serves versions whose replicas have become ready; tells why others have not."""
        changed = False
        for version_id, batcher in list(self._opening.items()):
            remote = batcher.replica
            if version_id not in self._wanted:
                self._opening.pop(version_id).retire(self._close)
                changed = True
            elif isinstance(remote, RemoteReplica) and (remote.ready or remote.asleep):
                self._failures.pop(version_id, None)
                self._serve(version_id, self._opening.pop(version_id))
            elif remote.refusal is not None and self._snapshot is not None:
                known = self._failures.get(version_id)
                changed |= known is None or known.reason != remote.refusal.message
                self._failures[version_id] = _Failure(remote.refusal.message, float("inf"), _LAST_RETRY_S)
            elif remote.refusal is None:
                changed |= self._failures.pop(version_id, None) is not None
        if changed:
            self._apply()

    def _serve(self, version_id: int, batcher: Batcher) -> None:
        """Makes it the version's way from now on; calls inside a former one are answered there."""
        former = self._batchers.get(version_id)
        self._batchers[version_id] = batcher
        self._apply()
        if former is not None:
            former.retire(self._close)

    def _loaded(self, version: ServedVersion, future: Future[Replica | None]) -> None:
        self._loading.discard(version.id)
        try:
            replica = future.result()
        except ModelyardError as error:
            self._failed(version, error)
        except Exception:  # the edge to runtimes and stores, in a thread
            logger.exception("Loading %s@%d failed unexpectedly", version.model, version.number)
            self._failed(version, Internal("It failed to load; the server's log has the reason."))
        else:
            self._failures.pop(version.id, None)
            if replica is not None:
                self._serve(version.id, self._resident(version, replica))
            elif version.id in self._wanted:  # given up and wanted again meanwhile
                self._start(version)
        self._apply()
        self._report()

    def _failed(self, version: ServedVersion, error: ModelyardError) -> None:
        before = self._failures.get(version.id)
        wait_s = _FIRST_RETRY_S if before is None else min(_LAST_RETRY_S, before.wait_s * 2)
        self._failures[version.id] = _Failure(error.message, time.monotonic() + wait_s, wait_s)
        if before is None or before.reason != error.message:
            logger.warning("Cannot serve %s@%d: %s", version.model, version.number, error.message)

    def _batcher(self, version: ServedVersion, replica: Runs) -> Batcher:
        identity = Identity(version.model, version.number, version.id, version.signature)
        executor = self._compute_threads.share(0)  # its own share follows with its routes
        return Batcher(replica, identity, version.profile, executor=executor, options=self._options.batch, loop=self._loop)

    def _resident(self, version: ServedVersion, replica: Replica) -> Batcher:
        """A version in this process, which leaves its memory while others need the room."""
        if self._residency is None:
            return self._batcher(version, replica)
        resident = self._residency.admit(version, replica)
        resident.holder = batcher = self._batcher(version, resident)
        return batcher

    def _apply(self) -> None:
        """Brings every deployment as far as what is loaded allows, then closes what nothing needs."""
        snapshot = self._snapshot
        if snapshot is None:
            return
        for version_id, turn in turns_of(snapshot.deployments).items():
            if version_id in self._batchers:
                self._batchers[version_id].executor = self._compute_threads.share(*turn)
        current = {routes.deployment.id: routes for routes in self._plane}
        wished = {deployment.id: deployment for deployment in snapshot.deployments}
        for routes in current.values():
            there = wished.get(routes.deployment.id)
            if there is None or there.name != routes.deployment.name:
                self._plane.remove(routes.deployment.workspace_id, routes.deployment.name)
        for deployment in snapshot.deployments:
            self._plane.put(self._routes(deployment, current.get(deployment.id), snapshot))
        self._plane.share(snapshot.shares.values())
        self._forget(wished.keys())
        self._changed = True
        expected = any(isinstance(batcher.replica, RemoteReplica) and batcher.replica.expected for batcher in self._opening.values())
        if not self._loading and not expected:
            self._plane.accepting = True
            self.settled.set()

    def _routes(self, deployment: ServedDeployment, old: Routes | None, snapshot: Snapshot) -> Routes:
        targets = [(snapshot.versions[route.version_id], route.weight) for route in deployment.routes]
        loaded = [(version, weight) for version, weight in targets if version.id in self._batchers]
        missing = [version for version, _ in targets if version.id not in self._batchers]
        pending = [version for version in missing if version.id not in self._failures]
        failed = [version for version in missing if version.id in self._failures]
        reasons = "; ".join(f"{version.model}@{version.number}: {self._failures[version.id].reason}" for version in failed)
        if not pending:
            # As good as it gets for now; what failed is told apart from this.
            self._revisions[deployment.id] = deployment.revision
        if missing and old is not None and old.sources:
            kept = [(snapshot.versions.get(lane.version.id, lane.version), lane.weight) for lane in old.sources]
            state = DeploymentState.LOADING if pending else DeploymentState.DEGRADED
            return self._made(deployment, old, kept, state, reasons)
        if pending:
            return self._options.composer.routes(deployment, (), DeploymentState.LOADING, reasons)
        state = DeploymentState.READY if not missing else DeploymentState.DEGRADED if loaded else DeploymentState.FAILED
        return self._made(deployment, old, loaded, state, reasons or ("" if targets else "no version is routed to"))

    def _made(
        self,
        deployment: ServedDeployment,
        old: Routes | None,
        targets: list[tuple[ServedVersion, int]],
        state: DeploymentState,
        reason: str,
    ) -> Routes:
        if old is not None and (old.deployment, old.state, old.reason) == (deployment, state, reason):
            same = [(lane.version, lane.weight) for lane in old.sources] == targets
            if same and all(lane.batcher is self._batchers[lane.version.id] for lane in old.sources):
                return old
        lanes = [Lane(version, weight, self._batchers[version.id], self._counts(deployment.id, version.id)) for version, weight in targets]
        return self._options.composer.routes(deployment, lanes, state if lanes else DeploymentState.FAILED, reason)

    def _counts(self, deployment_id: int, version_id: int) -> CallStatistics:
        return self._statistics.setdefault((deployment_id, version_id), CallStatistics())

    def _forget(self, deployments: Set[int]) -> None:
        """Lets go of versions that no route needs and of what was kept for ended deployments."""
        self._options.composer.keep(deployments)
        needed = {lane.version.id for routes in self._plane for lane in routes.sources} | self._wanted
        for version_id in self._batchers.keys() - needed:
            self._batchers.pop(version_id).retire(self._close)
        self._statistics = {key: counts for key, counts in self._statistics.items() if key[0] in deployments}
        self._revisions = {key: revision for key, revision in self._revisions.items() if key in deployments}

    def _close(self, replica: Runs) -> None:
        if isinstance(replica, RemoteReplica) and self._remotes is not None:
            self._remotes.close(replica)
        elif isinstance(replica, Resident):
            replica.close()
        else:
            self._load_thread.submit(unload, replica)

    def _report(self) -> None:
        """Writes the report when something changed, and once a second to show that this worker lives."""
        now = time.monotonic()
        if not self._changed and now < self._report_at:
            return
        if self._options.behind(partial(_write, self._options.reports, self._made_report())):
            self._changed, self._report_at = False, now + _REPORT_S

    def _made_report(self) -> WorkerReport:
        versions: dict[int, VersionReport] = {}
        for version_id in self._wanted:
            batcher = self._batchers.get(version_id)
            if batcher is not None and version_id not in self._opening:
                refusal = batcher.replica.refusal
                state = DeploymentState.READY if refusal is None else DeploymentState.FAILED
                versions[version_id] = VersionReport(
                    state=state, reason="" if refusal is None else refusal.message, in_memory=in_memory(batcher.replica)
                )
            elif version_id in self._failures:
                versions[version_id] = VersionReport(state=DeploymentState.FAILED, reason=self._failures[version_id].reason)
            else:
                versions[version_id] = VersionReport(state=DeploymentState.LOADING)
        return WorkerReport(
            slot=self._options.slot,
            pid=os.getpid(),
            snapshot=self._seen,
            written_ns=time.time_ns(),
            versions=versions,
            deployments=dict(self._revisions),
        )


def _write(folder: Path, report: WorkerReport) -> None:
    try:
        write_report(folder, report)
    except OSError as error:
        logger.warning("Cannot write this worker's report: %s", error)

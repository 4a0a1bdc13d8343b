"""Which process of this machine is what to the platform, and what each uses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Literal, NamedTuple

from modelyard.core.clock import Clock
from modelyard.core.jobs import JobStatus
from modelyard.core.machine import MachineUsage, Part, ProcessUsage, Resources
from modelyard.observability.gpus import read_gpus
from modelyard.observability.machine import children_running, families, read_machine, use_of
from modelyard.observability.metrics import Export, Family, Labels
from modelyard.server.instance import find
from modelyard.serving.replicas.places import DirectoryFile
from modelyard.serving.reports import read_reports
from modelyard.store.database import Store
from modelyard.store.home import Home
from modelyard.store.snapshot import SnapshotReader

ENGINE = "modelyard.server.entrypoints.engine"
Samples = list[tuple[Labels, float]]
Kind = Literal["counter", "gauge"]
_MACHINE: tuple[tuple[str, Kind, str], ...] = (
    ("cores", "gauge", "Processor cores."),
    ("load", "gauge", "Processes that ran or waited to run, over the last minute."),
    ("memory_bytes", "gauge", "Memory of the machine."),
    ("memory_available_bytes", "gauge", "Memory that can be had without swapping."),
    ("swap_used_bytes", "gauge", "Swap space in use."),
    ("disk_bytes", "gauge", "Size of the file system that holds the home."),
    ("disk_free_bytes", "gauge", "What is free of it."),
    ("disk_read_bytes", "counter", "Bytes read from all disks since the machine started."),
    ("disk_written_bytes", "counter", "Bytes written to all disks since the machine started."),
    ("network_received_bytes", "counter", "Bytes received over all networks but loopback."),
    ("network_sent_bytes", "counter", "Bytes sent over all networks but loopback."),
)
_GPU = (
    ("busy", "Share of the last moments in which the GPU computed."),
    ("memory_bytes", "Memory of the GPU."),
    ("memory_used_bytes", "Memory of the GPU in use."),
    ("watts", "Power that the GPU draws; 0 where it does not tell."),
)
_PROCESS: tuple[tuple[str, Kind, str], ...] = (
    ("cpu_seconds", "counter", "Processor time of a part of the platform, a job or a replica."),
    ("memory_bytes", "gauge", "Its share of the memory."),
    ("threads", "gauge", "Its threads."),
    ("read_bytes", "counter", "Bytes it read from disks."),
    ("written_bytes", "counter", "Bytes it wrote to disks."),
    ("gpu_memory_bytes", "gauge", "Memory of GPUs that it holds."),
)


class _Known(NamedTuple):
    """What the platform knows of one of its processes."""

    part: Part
    name: str
    workspace_id: int = 0
    about: str = ""


class ResourceMonitor:
    """Looks when asked; between looks it costs nothing. Safe to use from several threads."""

    def __init__(self, store: Store, home: Home, clock: Clock) -> None:
        self._store, self._home, self._clock = store, home, clock

    def read(self, workspace_id: int | None) -> Resources:
        """The machine and what runs on it; of jobs and replicas only those of a workspace, or all for None."""
        gpus = read_gpus()
        with self._store.read() as session:
            workspaces = {workspace.id: workspace.name for workspace in session.workspaces.list()}
        known = {pid: what for pid, what in self._known() if workspace_id is None or what.workspace_id in {0, workspace_id}}
        found = []
        for pid, members in families(list(known)).items():
            what, use = known[pid], use_of(members)
            found.append(
                ProcessUsage(
                    part=what.part,
                    name=what.name,
                    workspace=workspaces.get(what.workspace_id, ""),
                    about=what.about,
                    pid=pid,
                    gpu_memory_bytes=sum(gpus.memory.get(member, 0) for member in members),
                    **use._asdict(),
                )
            )
        order = list(Part)
        found.sort(key=lambda usage: (order.index(usage.part), usage.name))
        machine = read_machine(self._home.root, gpus.gpus)
        return Resources(time_ns=self._clock.time_ns(), machine=machine, processes=tuple(found), gpu_reason=gpus.reason)

    def export(self) -> Export:
        """The same as metrics."""
        found = self.read(None)
        return [*_machine_metrics(found.machine), *_process_metrics(found.processes)]

    def _known(self) -> Iterator[tuple[int, _Known]]:
        """Process ids with what they are; some may have ended."""
        instance = find(self._home)
        if instance is not None:
            yield instance.pid, _Known(Part.SUPERVISOR, "supervisor")
            for pid in children_running(instance.pid, ENGINE):
                yield pid, _Known(Part.ENGINE, "engine")
        yield os.getpid(), _Known(Part.CONTROLLER, "controller")
        for report in read_reports(self._home.run):
            yield report.pid, _Known(Part.WORKER, f"worker-{report.slot}")
        with self._store.read() as session:
            running = [job for job in session.jobs.unended() if job.status is JobStatus.RUNNING and job.pid]
        for job in running:
            yield job.pid, _Known(Part.JOB, str(job.id), job.workspace_id, job.kind)
        yield from self._replicas()

    def _replicas(self) -> Iterator[tuple[int, _Known]]:
        directory = DirectoryFile(self._home.run).changed() or {}
        if not any(places.replicas for places in directory.values()):
            return
        with closing(SnapshotReader(self._home.snapshot)) as reader:
            snapshot = reader.load()
        for version_id, places in directory.items():
            version = snapshot.versions.get(version_id)
            if version is None:
                continue
            served = sorted(
                deployment.name for deployment in snapshot.deployments if any(route.version_id == version_id for route in deployment.routes)
            )
            for at, place in enumerate(places.replicas):
                yield place.pid, _Known(Part.REPLICA, f"{version.model}@{version.number}/{at}", version.workspace_id, ", ".join(served))


def _machine_metrics(machine: MachineUsage) -> Export:
    cpu: Samples = [((mode,), seconds) for mode, seconds in machine.cpu_seconds.items()]
    found = [
        Family(name="modelyard_machine_cpu_seconds", help="Processor time of all cores.", kind="counter", labels=("mode",), values=cpu)
    ]
    for field, kind, text in _MACHINE:
        value: Samples = [((), float(getattr(machine, field)))]
        found.append(Family(name=f"modelyard_machine_{field}", help=text, kind=kind, values=value))
    for field, text in _GPU if machine.gpus else ():
        values: Samples = [((str(gpu.index), gpu.name), float(getattr(gpu, field))) for gpu in machine.gpus]
        found.append(Family(name=f"modelyard_gpu_{field}", help=text, kind="gauge", labels=("gpu", "model"), values=values))
    return found


def _process_metrics(usages: Iterable[ProcessUsage]) -> Export:
    found = []
    for field, kind, text in _PROCESS:
        values: Samples = [((usage.part.value, usage.name, usage.workspace), float(getattr(usage, field))) for usage in usages]
        found.append(Family(name=f"modelyard_process_{field}", help=text, kind=kind, labels=("part", "name", "workspace"), values=values))
    return found

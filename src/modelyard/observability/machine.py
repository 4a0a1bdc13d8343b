"""What this machine and the processes on it use, as the operating system counts it.

psutil loads when somebody looks: most of the time nobody does, and it takes memory of whoever might.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modelyard.core.machine import Gpu, MachineUsage

if TYPE_CHECKING:
    import psutil

Pid = int


class Use(NamedTuple):
    """What one process, or several together, use."""

    processes: int = 0
    threads: int = 0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    def plus(self, other: Use) -> Use:
        return Use(
            self.processes + other.processes,
            self.threads + other.threads,
            self.cpu_seconds + other.cpu_seconds,
            self.memory_bytes + other.memory_bytes,
            self.read_bytes + other.read_bytes,
            self.written_bytes + other.written_bytes,
        )


def read_machine(place: Path, gpus: Sequence[Gpu] = ()) -> MachineUsage:
    """The whole machine; ``place`` says which file system counts."""
    import psutil

    memory, swap, space = psutil.virtual_memory(), psutil.swap_memory(), psutil.disk_usage(str(place))
    # Absent in some containers, where no device is visible.
    disk = psutil.disk_io_counters()
    network = [counts for name, counts in psutil.net_io_counters(pernic=True).items() if not name.startswith("lo")]
    return MachineUsage(
        cores=os.cpu_count() or 1,
        cpu_seconds={name: float(value) for name, value in psutil.cpu_times()._asdict().items()},
        load=os.getloadavg()[0],
        memory_bytes=memory.total,
        memory_available_bytes=memory.available,
        swap_used_bytes=swap.used,
        disk_bytes=space.total,
        disk_free_bytes=space.free,
        disk_read_bytes=disk.read_bytes if disk is not None else 0,
        disk_written_bytes=disk.write_bytes if disk is not None else 0,
        network_received_bytes=sum(counts.bytes_recv for counts in network),
        network_sent_bytes=sum(counts.bytes_sent for counts in network),
        gpus=tuple(gpus),
    )


def families(roots: Sequence[Pid]) -> dict[Pid, list[Pid]]:
    """Each of ``roots`` that lives with all processes below it, but for those below another root."""
    import psutil

    parents = {process.pid: process.info["ppid"] for process in psutil.process_iter(["ppid"])}
    chosen = set(roots)
    found: dict[Pid, list[Pid]] = {root: [] for root in roots if root in parents}
    for pid in parents:
        for ancestor in _upwards(pid, parents):
            if ancestor in chosen:
                found[ancestor].append(pid)
                break
    return found


def children_running(parent: Pid, module: str) -> list[Pid]:
    """Children of a process that run a Python module."""
    import psutil

    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if module in child.cmdline():
                    found.append(child.pid)
    return found


def use_of(pids: Sequence[Pid]) -> Use:
    """What processes use together; one that ended meanwhile counts nothing."""
    import psutil

    total = Use()
    for pid in pids:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            total = total.plus(_one(psutil.Process(pid)))
    return total


def _one(process: psutil.Process) -> Use:
    import psutil

    with process.oneshot():
        times = process.cpu_times()
        read = written = 0
        memory = process.memory_info().rss
        # A process of another user, or a system without these counters: what is left is still worth telling.
        with suppress(psutil.AccessDenied, AttributeError):
            counts = process.io_counters()
            read, written = counts.read_bytes, counts.write_bytes
        with suppress(psutil.AccessDenied, AttributeError):
            memory = process.memory_full_info().pss
        return Use(1, process.num_threads(), times.user + times.system, memory, read, written)


def _upwards(pid: Pid, parents: Mapping[Pid, Pid]) -> Iterator[Pid]:
    """A process and its ancestors; a chain that turns in a circle, because ids were used again meanwhile, ends."""
    for _ in range(len(parents)):
        yield pid
        above = parents.get(pid)
        if above is None or above == pid:
            return
        pid = above

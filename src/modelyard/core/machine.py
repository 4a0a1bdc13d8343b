"""What a machine has, and what runs on it uses. Totals only grow, so that whoever reads twice has rates."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU as its driver reports it."""

    index: int
    name: str
    busy: float
    """Share of the last moments in which it computed, 0 to 1."""
    memory_bytes: int
    memory_used_bytes: int
    watts: float = 0.0
    """0 where it does not tell."""


class MachineUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The whole machine. Bytes of disk and network count since the machine started, over all devices but loopback."""

    cores: int
    cpu_seconds: dict[str, float]
    """Processor time of all cores by what it was spent on: ``user``, ``system``, ``idle``, ``iowait``, ``steal``, …"""
    load: float
    """Processes that ran or waited to run, over the last minute."""
    memory_bytes: int
    memory_available_bytes: int
    swap_used_bytes: int
    disk_bytes: int
    """Size of the file system that holds the home."""
    disk_free_bytes: int
    disk_read_bytes: int
    disk_written_bytes: int
    network_received_bytes: int
    network_sent_bytes: int
    gpus: tuple[Gpu, ...] = ()


class Part(StrEnum):
    """What a group of processes is to the platform."""

    SUPERVISOR = "supervisor"
    CONTROLLER = "controller"
    ENGINE = "engine"
    WORKER = "worker"
    REPLICA = "replica"
    JOB = "job"


class ProcessUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the platform together with those that it started, other parts of the platform excepted."""

    part: Part
    name: str
    """``worker-0``, the number of a job, ``MODEL@VERSION/REPLICA`` of a replica, otherwise the part."""
    workspace: str = ""
    """Whose it is; empty for what belongs to nobody."""
    about: str = ""
    """What it does: the kind of a job, the deployments that a replica serves."""
    pid: int
    processes: int
    threads: int
    cpu_seconds: float
    memory_bytes: int
    """Its share of the memory where the system tells (Linux: proportional set size), otherwise what it has in memory."""
    read_bytes: int
    written_bytes: int
    gpu_memory_bytes: int = 0


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a machine and at what the platform runs on it."""

    time_ns: int
    machine: MachineUsage
    processes: tuple[ProcessUsage, ...]
    gpu_reason: str = ""
    """Why no GPU is reported, where one may be there."""

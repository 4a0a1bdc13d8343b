"""A running platform for benchmarks: the real product on a temporary home."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from modelyard.testing.platform import RunningPlatform, running_platform


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process and all below it (Linux)."""
    process = psutil.Process(pid)
    return sum(p.memory_full_info().pss for p in [process, *process.children(recursive=True)])


def cpu_seconds(pid: int) -> float:
    """Processor time that a process and all below it have used."""
    process = psutil.Process(pid)
    return sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])


@contextmanager
def platform(workers: int = 2, **settings: str) -> Iterator[RunningPlatform]:
    """A platform on a temporary home and free ports; extra settings become MODELYARD_ variables."""
    with (
        tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder,
        running_platform(Path(folder), workers=workers, settings=settings) as it,
    ):
        yield it

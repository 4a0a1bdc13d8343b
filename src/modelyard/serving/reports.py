"""What each worker serves, told in a small file: workers write ``worker-<slot>.json``, the controller reads them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from modelyard.core.deployments import DeploymentState
from modelyard.core.unreadable import UNREADABLE


class VersionReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far one worker has come with one version."""

    state: DeploymentState
    """LOADING, READY or FAILED."""
    reason: str = ""
    """Why it failed."""
    in_memory: bool = True
    """False while it is out of memory for want of room; the next call loads it."""


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's state of things."""

    slot: int
    pid: int
    snapshot: int
    """Number of the snapshot that it acts on."""
    written_ns: int
    versions: dict[int, VersionReport] = {}
    """By version id."""
    deployments: dict[int, int] = {}
    """Deployment id → revision that its routes are at."""


Reports = Callable[[], Sequence[WorkerReport]]
"""Where the reports of all living workers come from."""


def write_report(folder: Path, report: WorkerReport) -> None:
    """Replaces the worker's report as a whole."""
    path = folder / f"worker-{report.slot}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(report))
    temporary.replace(path)


def read_reports(folder: Path) -> list[WorkerReport]:
    """Reports of workers that live, by slot. A file that cannot be read counts as none: its worker will write another."""
    found = []
    for path in sorted(folder.glob("worker-*.json")):
        try:
            report = msgspec.json.decode(path.read_bytes(), type=WorkerReport)
        except (OSError, *UNREADABLE):
            continue
        if _lives(report.pid):
            found.append(report)
    return sorted(found, key=lambda report: report.slot)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

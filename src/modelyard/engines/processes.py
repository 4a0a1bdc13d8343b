"""What the operating system knows of processes: their memory, and which of them belong to a task.

Linux answers from ``/proc``; elsewhere ``ps`` is asked, which knows sizes but not the marks in an environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
MARK = "MODELYARD_JOB"
"""Environment variable that names a task's folder in each of its processes."""
PARENT = "MODELYARD_JOB_OWNER"
"""Environment variable with the id of the process whose death a task must not survive."""
HAS_PROC = (PROC / "self" / "stat").exists()


def session_memory(session: int) -> int:
    """Bytes of memory that only the processes of a session use: anonymous, shared and swapped, but no mapped files."""
    if not HAS_PROC:
        return _session_memory_by_ps(session)
    return sum(_private_memory(pid) for pid in _session_members(session))


def marked_processes(folder: Path) -> list[int]:
    """Ids of all processes that carry the mark of the task in ``folder``, whatever session or group they moved to."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for pid in _all_processes() if HAS_PROC else ():
        with suppress(OSError):
            if mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def kill_group(group: int, signal_number: int) -> bool:
    """Signals a process group; False when nobody is left in it."""
    try:
        os.killpg(group, signal_number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_all(pids: list[int]) -> None:
    """Kills processes; those already gone are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


class Rank(NamedTuple):
    """How a task stands beside the processes that serve."""

    niceness: int
    victim: int
    """How willingly the kernel ends it when memory runs out, of 1000."""


JOB = Rank(5, 500)
REPLICA = Rank(0, 250)
"""It serves as workers do, but the platform outlives it."""


def yield_to_serving(pid: int, rank: Rank) -> None:
    """Sets who gets the CPU first, and who ends first when memory runs out."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PGRP, pid, rank.niceness)
    with suppress(OSError):
        (PROC / str(pid) / "oom_score_adj").write_text(str(rank.victim))


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not tell."""
    with suppress(OSError):
        for line in (PROC / "vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _all_processes() -> Iterator[int]:
    own = os.getpid()
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and int(entry.name) != own:
            yield int(entry.name)


def _session_members(session: int) -> Iterator[int]:
    for pid in _all_processes():
        with suppress(OSError, IndexError, ValueError):
            # The command in parentheses may hold spaces; the session is the fourth field after it.
            fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == session:
                yield pid


def _private_memory(pid: int) -> int:
    total = 0
    with suppress(OSError, ValueError):
        for line in (PROC / str(pid) / "status").read_bytes().splitlines():
            if line.startswith((b"RssAnon:", b"RssShmem:", b"VmSwap:")):
                total += int(line.split()[1]) * 1024
    return total


def _session_memory_by_ps(session: int) -> int:
    done = subprocess.run(["ps", "-A", "-o", "pgid=,rss="], capture_output=True, text=True, check=False)
    total = 0
    for line in done.stdout.splitlines():
        group, _, size = line.strip().partition(" ")
        if group == str(session) and size.strip().isdigit():
            total += int(size) * 1024
    return total

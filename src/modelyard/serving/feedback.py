"""What users report of answers, on its way from workers to the database: a file of lines for each worker.

A line is on its way once it is written; the controller takes files away whole, so nothing is read twice or lost between the two.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from modelyard.core.errors import Unavailable


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report as it came."""

    request_id: str
    workspace_id: int
    value: float
    time_ns: int


class FeedbackFile:
    """Where one worker writes reports."""

    def __init__(self, folder: Path, slot: int) -> None:
        self._path = folder / f"{slot}.jsonl"

    def append(self, report: Report) -> None:
        """Writes a report down.

        Raises Unavailable when there is no room.
        """
        line = msgspec.json.encode(report) + b"\n"
        try:
            while True:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    if self._is_current(descriptor):
                        os.write(descriptor, line)
                        return
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise Unavailable(f"The report cannot be written down now: {os.strerror(error.errno or 5)}.", retry_after=5.0) from error

    def _is_current(self, descriptor: int) -> bool:
        """Whether the file is still there, and was not taken away between opening and locking."""
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return named.st_ino == os.fstat(descriptor).st_ino

"""What users report of answers, on its way from workers to the database."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from modelyard.core.errors import Unavailable
from modelyard.store.line_files import LineFile


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report as it came."""

    request_id: str
    workspace_id: int
    value: float
    time_ns: int


class FeedbackFile:
    """Where one worker writes reports, from any thread."""

    def __init__(self, folder: Path, slot: int) -> None:
        self._file = LineFile(folder, str(slot))

    def append(self, report: Report) -> None:
        """Writes a report down.

        Raises Unavailable when there is no room.
        """
        try:
            self._file.append(msgspec.json.encode(report) + b"\n")
        except OSError as error:
            raise Unavailable(f"The report cannot be written down now: {os.strerror(error.errno or 5)}.", retry_after=5.0) from error

"""Lines on their way from several processes to one: a file for each writer, which the reader takes away whole.

A line is on its way once it is written, and nothing is read twice or lost between the two.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_TAKEN = ".taken"


class LineFile:
    """Where one process writes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.jsonl"

    def append(self, lines: bytes) -> None:
        """Writes whole lines. Raises OSError when there is no room."""
        while True:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if self._is_current(descriptor):
                    os.write(descriptor, lines)
                    return
            finally:
                os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        """Whether the file is still there, and was not taken away between opening and locking."""
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return named.st_ino == os.fstat(descriptor).st_ino


class LineFolder:
    """All writers' files, as the reader takes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self) -> list[Path]:
        """Files that nobody writes to any more, those included that were taken before and not deleted."""
        for path in self._folder.glob("*.jsonl"):
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # A name that is never used again: its predecessor may still lie there, undeleted.
                path.rename(path.with_name(f"{path.stem}-{os.fstat(file.fileno()).st_ino}-{os.urandom(4).hex()}{_TAKEN}"))
        return sorted(self._folder.glob(f"*{_TAKEN}"))

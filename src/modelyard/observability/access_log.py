"""The access log of one worker: JSON lines, written behind the calls.

On a call's path there is one append to a list; a timer encodes and writes what has gathered.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

MAX_BYTES = 64 * 2**20
KEPT_FILES = 3
MAX_WAITING = 200_000


class Access(NamedTuple):
    """One answered request. Plain values only, as they lie at hand; they are made readable when written."""

    time_ns: int
    method: str
    path: str
    status: int
    duration_us: int
    peer: str
    request_id: str
    key: str
    """Public id of the caller's key; empty where none was accepted."""
    deployment: str
    bytes_in: int
    bytes_out: int


class AccessLog:
    """Gathers entries and writes them to a rotated file when ``flush`` is called."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._waiting: list[Access] = []
        self.add = self._waiting.append
        """Adds an entry; the whole cost on a call's path."""
        self._encoder = msgspec.json.Encoder()
        self._dropped = 0

    def flush(self) -> None:
        """Writes what has gathered. A full disk loses log lines, never calls: they are dropped and counted in the next line that fits."""
        waiting = self._waiting
        if not waiting:
            return
        entries = waiting[:MAX_WAITING]
        lost = len(waiting) - len(entries)
        waiting.clear()
        try:
            self._write(entries)
            self._dropped += lost
        except OSError:
            self._dropped += lost + len(entries)

    def _write(self, entries: list[Access]) -> None:
        self._rotate()
        buffer = bytearray()
        if self._dropped:
            buffer += self._encoder.encode({"time": _stamp(time.time_ns()), "dropped": self._dropped}) + b"\n"
        for entry in entries:
            line = entry._asdict()
            line["time"] = _stamp(line.pop("time_ns"))
            buffer += self._encoder.encode(line)
            buffer += b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(buffer)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
        self._dropped = 0

    def _rotate(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < self._max_bytes:
            return
        for number in range(self._kept - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))


def _stamp(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1_000_000:03d}Z"

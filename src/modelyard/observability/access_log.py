"""The access log of one worker: JSON lines, written behind the calls.

On a call's path an entry is made and put into a list; a timer hands over what has gathered, to be encoded and written at once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

MAX_BYTES = 64 * 2**20
KEPT_FILES = 3


class Access(msgspec.Struct, gc=False, omit_defaults=True):
    """One answered request: what lies at hand when it is answered. It is made readable when it is written."""

    time: int | str
    """Nanoseconds since the epoch; ISO 8601 once written."""
    method: str
    path: str
    status: int
    duration_us: int
    peer: str
    request_id: str
    key: str
    """Public id of the caller's key; empty where none was accepted."""
    protocol: str
    deployment: str
    bytes_in: int
    bytes_out: int
    rows: int
    queue_us: int
    compute_us: int
    trace: str = ""
    """Id of the trace that the caller said it is part of; left out where it said none."""
    span: str = ""
    """This call's own place in it."""
    parent: str = ""
    sampled: bool = False


class AccessLog:
    """A rotated file of entries."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._encoder = msgspec.json.Encoder()
        self._dropped = 0

    def write(self, entries: list[Access], lost: int = 0) -> None:
        """Writes entries. A full disk loses log lines, never calls: they are dropped and counted in the next line that fits.

        ``lost`` were dropped before these, by whoever calls.
        """
        self._dropped += lost
        if not entries:
            return
        _stamp_all(entries)
        data = self._encoder.encode_lines(entries)
        if self._dropped:
            data = self._encoder.encode({"time": entries[0].time, "dropped": self._dropped}) + b"\n" + data
        try:
            self._rotate()
            self._append(data)
            self._dropped = 0
        except OSError:
            self._dropped += len(entries)

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < self._max_bytes:
            return
        for number in range(self._kept - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))


def _stamp_all(entries: list[Access]) -> None:
    millisecond, text = -1, ""
    for entry in entries:
        if isinstance(entry.time, str):
            continue
        now = entry.time // 1_000_000
        if now != millisecond:  # mostly it is the one of the entry before
            millisecond = now
            text = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now // 1000))}.{now % 1000:03d}Z"
        entry.time = text

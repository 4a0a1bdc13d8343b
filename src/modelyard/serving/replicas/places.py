"""Two files by which workers and the engine's process work together, without a word on any call's path.

``replicas.places``: the engine tells where replicas are, replaced as a whole. ``demand-<slot>``: a worker tells how many calls each
version has; mapped by both, so telling and looking cost no system call. Nobody waits for anybody: what the engine does not
answer for, its dead process included, stays as it was last told.
"""

from __future__ import annotations

import mmap
import os
from enum import StrEnum
from pathlib import Path

import msgspec

from modelyard.core.unreadable import UNREADABLE

ENTRIES = 1024
"""Versions with replicas that one worker can tell of."""
_FIELDS = 3
_SIZE = ENTRIES * _FIELDS * 8


class ReplicaState(StrEnum):
    """How far a replica is."""

    STARTING = "starting"  # its process loads the model
    READY = "ready"  # it answers
    DRAINING = "draining"  # it answers what it has and takes no more


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One replica process."""

    name: str
    """Unique for as long as the home exists."""
    socket: str
    pid: int
    state: ReplicaState
    gpus: tuple[str, ...] = ()


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """The replicas of one version."""

    wanted: int
    """How many shall run now; 0 while nobody calls it."""
    replicas: tuple[Place, ...] = ()
    reason: str = ""
    """Why none can be had, where it was tried in vain."""

    @property
    def ready(self) -> int:
        return sum(place.state is ReplicaState.READY for place in self.replicas)


Directory = dict[int, Places]
"""By version id."""
_decode = msgspec.msgpack.Decoder(Directory).decode


class DirectoryFile:
    """The file of places, for its one writer and for those who follow it."""

    def __init__(self, run: Path) -> None:
        self._path = run / "replicas.places"
        self._seen = (0, 0, 0)

    def write(self, directory: Directory) -> None:
        """Replaces it as a whole."""
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.msgpack.encode(directory))
        temporary.replace(self._path)

    def changed(self) -> Directory | None:
        """The directory when it is another than at the last look; None when it is not, or there is none yet."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen == self._seen:
                return None
            directory = _decode(self._path.read_bytes())
        except (FileNotFoundError, *UNREADABLE):
            return None
        self._seen = seen
        return directory


class Demand(msgspec.Struct, frozen=True):
    """What one or all workers want of a version."""

    outstanding: int
    """Calls that wait or are computed."""
    calls: int
    """Calls that ever came; only differences mean something."""


class DemandBoard:
    """A worker's file of demand."""

    def __init__(self, run: Path, slot: int) -> None:
        descriptor = os.open(run / f"demand-{slot}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, 0)  # a former worker's calls are nobody's any more
            os.posix_fallocate(descriptor, 0, _SIZE) if hasattr(os, "posix_fallocate") else os.ftruncate(descriptor, _SIZE)
            self._words = memoryview(mmap.mmap(descriptor, _SIZE)).cast("Q")
        finally:
            os.close(descriptor)
        self._rows: dict[int, int] = {}

    def tell(self, version_id: int, outstanding: int, calls: int) -> None:
        """Sets what a version's demand is; beyond ``ENTRIES`` versions nothing is told."""
        at = self._rows.get(version_id)
        if at is None:
            at = next((row for row in range(0, ENTRIES * _FIELDS, _FIELDS) if not self._words[row]), -1)
            if at < 0:
                return
            self._rows[version_id] = at
        words = self._words
        words[at + 1] = outstanding
        words[at + 2] = calls
        words[at] = version_id

    def forget(self, version_id: int) -> None:
        """Frees a version's row."""
        at = self._rows.pop(version_id, None)
        if at is not None:
            self._words[at] = 0


def read_demand(run: Path, slots: int) -> dict[int, Demand]:
    """The demand of all workers together, by version id."""
    found: dict[int, Demand] = {}
    for slot in range(slots):
        try:
            data = (run / f"demand-{slot}").read_bytes()
        except FileNotFoundError:
            continue
        words = memoryview(data[: len(data) // 24 * 24]).cast("Q")
        for at in range(0, len(words), _FIELDS):
            version_id = words[at]
            if not version_id:
                continue
            before = found.get(version_id, Demand(0, 0))
            found[version_id] = Demand(before.outstanding + words[at + 1], before.calls + words[at + 2])
    return found

"""From journals to the ledger: new records become minute sums, in the transaction that moves the segments' cursors.

What happens to a segment, in this order, each step safe to repeat after a crash: damaged records are set aside; sums and cursor
are committed; a segment that gets no more records is compressed into ``archive/``; the original goes, and that is made durable;
its cursor is forgotten. A name is never used twice, so a forgotten cursor cannot be confused with a new segment's.
"""

from __future__ import annotations

import gzip
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from modelyard.core.clock import Clock
from modelyard.core.errors import Unavailable
from modelyard.ledger.sums import MINUTE_NS, sum_minutes
from modelyard.ledger.trace import spans_of
from modelyard.store.database import Store
from modelyard.store.segments import ARCHIVE_SUFFIX, SUFFIX, JournalReader, SegmentFile, SegmentRead, is_abandoned
from modelyard.store.usage import UsageMinute

logger = logging.getLogger(__name__)

_BATCH = 16
"""Segments in one transaction: bounds memory after a long absence."""
_UNFINISHED_SECONDS = 60.0
"""A file that nobody holds and that has no sound header is left alone this long: it may be in the making."""


class FoldReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one fold has done."""

    records: int = 0
    """Calls added to the ledger."""
    segments: int = 0
    """Segments that had new records."""
    archived: int = 0
    removed: int = 0
    """Archived segments whose retention was over."""
    damaged: tuple[str, ...] = ()
    """What was set aside, as ``segment#number`` or a file's name: these calls are not in the ledger."""


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A segment's news."""

    segment: SegmentFile
    before: int
    read: SegmentRead


class Folder:
    """Folds the journals of one home. One process, the controller, has one, and calls it from one thread at a time.

    ``retention_seconds`` is how long raw records stay in the archive, ``minute_retention_seconds`` how long sums by minute stay
    beside those by hour, day and month; 0 keeps them for ever. ``energy`` says how many microjoules a microsecond of computing took, when
    models computed so many since it was last asked.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        clock: Clock,
        *,
        retention_seconds: float = 400 * 86400.0,
        minute_retention_seconds: float = 0.0,
        energy: Callable[[int], float] | None = None,
    ) -> None:
        self._energy = energy
        self._store, self._folder, self._clock = store, folder, clock
        self._retention = retention_seconds
        self._minute_retention = minute_retention_seconds
        self._pruned = 0
        self._archive = folder / "archive"
        self._quarantine = folder / "quarantine"
        for made in (folder, self._archive, self._quarantine):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)

    def fold(self) -> FoldReport:
        """Adds everything that was recorded since the last time, by workers alive or dead.

        Raises Unavailable when the database does not answer or the disk is full, Conflict when somebody else folds too. What was
        not counted then is counted by a later fold.
        """
        try:
            return self._fold()
        except OSError as error:
            raise Unavailable(f"The usage journal in {self._folder} cannot be folded: {error.strerror}.", retry_after=1.0) from error

    def _fold(self) -> FoldReport:
        reader = JournalReader(self._folder)
        with self._store.read() as session:
            positions = session.usage.positions()
        damaged = self._set_aside_files(reader)
        records = segments = archived = 0
        found = reader.segments()
        for at in range(0, len(found), _BATCH):
            parts = [self._part(segment, positions.get((segment.boot, segment.name), 0)) for segment in found[at : at + _BATCH]]
            damaged += [name for part in parts for name in self._set_aside_records(part)]
            moved = [part for part in parts if part.read.position > part.before]
            self._commit(moved)
            records += sum(len(part.read.records) for part in moved)
            segments += len(moved)
            ended = [part for part in parts if part.read.ended]
            self._retire(ended)
            archived += sum(1 for part in ended if part.read.position)
        self._forget_archived(found, positions)
        self._prune()
        report = FoldReport(records=records, segments=segments, archived=archived, removed=self._expire(), damaged=tuple(damaged))
        if report.damaged:
            logger.error("Usage records are damaged and were set aside in %s: %s", self._quarantine, ", ".join(report.damaged))
        return report

    @staticmethod
    def _part(segment: SegmentFile, before: int) -> _Part:
        return _Part(segment=segment, before=before, read=segment.read(before))

    def _commit(self, parts: Sequence[_Part]) -> None:
        if not parts:
            self._with_energy([])
            return
        minutes = self._with_energy(sum_minutes(np.concatenate([part.read.records for part in parts])))
        with self._store.write() as session:
            for part in parts:
                session.usage.advance(part.segment.boot, part.segment.name, part.before, part.read.position)
            session.usage.add(minutes)
            latest: dict[int, int] = {}
            for minute in minutes:
                latest[minute.key_id] = max(latest.get(minute.key_id, 0), minute.minute * MINUTE_NS)
            session.keys.used(latest)

    def _with_energy(self, minutes: list[UsageMinute]) -> list[UsageMinute]:
        """Sums with the energy that their computing took, where the machine reports it."""
        per_us = self._energy(sum(minute.compute_us for minute in minutes)) if self._energy is not None else 0.0
        if not per_us:
            return minutes
        return [msgspec.structs.replace(minute, energy_uj=round(minute.compute_us * per_us)) for minute in minutes]

    def _set_aside_records(self, part: _Part) -> list[str]:
        for number, content in part.read.damaged.items():
            (self._quarantine / f"{part.segment.name}-{number:06d}.record").write_bytes(content)
        return [f"{part.segment.name}#{number}" for number in part.read.damaged]

    def _set_aside_files(self, reader: JournalReader) -> list[str]:
        """Moves away segments without a sound header, and drops those that a worker has died making."""
        set_aside = []
        for path in [*reader.unreadable(), *self._folder.glob(f"*{SUFFIX}.tmp")]:
            if not _is_left(path, self._clock.time_ns() / 1e9):
                continue
            if path.suffix == ".tmp":
                path.unlink(missing_ok=True)
            else:
                path.rename(self._quarantine / path.name)
                set_aside.append(path.name)
        return set_aside

    def _retire(self, parts: Sequence[_Part]) -> None:
        """Compresses segments that are wholly folded and will not grow, and takes their originals and cursors away."""
        for part in parts:
            if part.read.position:
                _compress(part.segment.path, self._archive / f"{part.segment.name}{ARCHIVE_SUFFIX}")
        if not parts:
            return
        _sync(self._archive)
        # Before the originals go, so that a call can be traced at any moment.
        self._index([part for part in parts if part.read.position])
        for part in parts:
            part.segment.path.unlink(missing_ok=True)
        # Before the cursors go: an original that came back after a power failure would be counted again.
        _sync(self._folder)
        self._forget([(part.segment.boot, part.segment.name) for part in parts])

    def _index(self, parts: Sequence[_Part]) -> None:
        spans = [span for part in parts for span in spans_of(part.segment.name, part.segment.request_ids(part.read.position))]
        if spans:
            with self._store.write() as session:
                session.usage_segments.put(spans)

    def _forget_archived(self, living: Sequence[SegmentFile], positions: dict[tuple[str, str], int]) -> None:
        """Forgets cursors that a crash left behind between an original's end and its cursor's."""
        names = {segment.name for segment in living}
        self._forget([key for key in positions if key[1] not in names and (self._archive / f"{key[1]}{ARCHIVE_SUFFIX}").exists()])

    def _forget(self, keys: Sequence[tuple[str, str]]) -> None:
        if not keys:
            return
        with self._store.write() as session:
            for boot, name in keys:
                session.usage.forget(boot, name)

    def _expire(self) -> int:
        """Removes archived segments older than the retention."""
        for left in self._archive.glob("*.tmp"):
            left.unlink(missing_ok=True)
        if not self._retention:
            return 0
        oldest = self._clock.time_ns() / 1e9 - self._retention
        expired = [path for path in self._archive.glob(f"*{ARCHIVE_SUFFIX}") if path.stat().st_mtime < oldest]
        for path in expired:
            path.unlink(missing_ok=True)
        if expired:
            with self._store.write() as session:
                session.usage_segments.remove(path.name.removesuffix(ARCHIVE_SUFFIX) for path in expired)
        return len(expired)

    def _prune(self) -> None:
        """Drops sums by minute whose retention is over, a day at a time."""
        oldest = int(self._clock.time_ns() / 1e9 - self._minute_retention) // 86400 * 1440
        if self._minute_retention and oldest > self._pruned:
            with self._store.write() as session:
                session.usage.prune(oldest)
            self._pruned = oldest


def _compress(source: Path, target: Path) -> None:
    """``source`` as gzip, whole and durable, with the time of its last record as its age."""
    temporary = target.with_name(target.name + ".tmp")
    with source.open("rb") as plain, temporary.open("wb") as raw:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
        raw.flush()
        os.fsync(raw.fileno())
    shutil.copystat(source, temporary)
    temporary.replace(target)


def _is_left(path: Path, now: float) -> bool:
    """Whether nobody holds the file and it is too old to be in the making."""
    try:
        with path.open("rb") as file:
            return is_abandoned(file.fileno()) and path.stat().st_mtime < now - _UNFINISHED_SECONDS
    except FileNotFoundError:
        return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Uploaded files and batches of calls, as workers write and read them and jobs work them off.

    HOME/batches/<workspace id>/files/<id>.json      what a file is; the last thing written, so that a file is there whole or not at all
                                files/<id>.data      its content
                                work/<id>/batch.json what was asked
                                work/<id>/started.json   how many lines there are, written when all were found good
                                work/<id>/answers.jsonl  a line for each that was answered; half of the last one may be missing
                                work/<id>/counts.json    how far it is, about
                                work/<id>/cancel     its caller wants it ended
                                work/<id>/ended.json how it ended; written once and never replaced
                                open/<id>            there until it has ended

Every method blocks on the disk: never call one on an event loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

FILE_PREFIX, BATCH_PREFIX = "file-", "batch_"
_ID = re.compile(r"(?:file-|batch_)[0-9a-f]{44}")
T = TypeVar("T")


class StoredFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An uploaded file, or one of answers."""

    id: str
    workspace_id: int
    key_id: int
    """Whose upload it was, or whose batch."""
    name: str
    purpose: str
    size: int
    created_ns: int
    expires_ns: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked."""

    id: str
    workspace_id: int
    key_id: int
    endpoint: str
    """The path that each line's body goes to."""
    file_id: str
    window: str
    """As it was written."""
    metadata: dict[str, str] = {}
    created_ns: int
    expires_ns: int
    """When lines that were not answered are given up."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch is."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """That a batch's lines are good."""

    total: int
    time_ns: int


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line, or with the file (line 0)."""

    code: str
    message: str
    line: int = 0


class Ended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a batch ended."""

    status: str
    """``completed``, ``failed``, ``expired`` or ``cancelled``."""
    time_ns: int
    finalizing_ns: int = 0
    counts: Counts = Counts()
    output_id: str = ""
    error_id: str = ""
    faults: tuple[Fault, ...] = ()


def new_id(prefix: str, time_ns: int) -> str:
    """An id that cannot be guessed (128 random bits) and sorts by the time of its making."""
    return prefix + f"{time_ns // 1_000_000:012x}"[-12:] + secrets.token_hex(16)


class BatchFiles:
    """The folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    # -- files --

    def add_file(self, file: StoredFile, content: bytes) -> None:
        """Stores an upload durably."""
        place = self.data(file.workspace_id, file.id)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(place, content)
        self.seal_file(file)

    def seal_file(self, file: StoredFile) -> None:
        """Makes a file known whose content is in its place."""
        _write(self.data(file.workspace_id, file.id).with_suffix(".json"), msgspec.json.encode(file))

    def file(self, workspace_id: int, file_id: str) -> StoredFile | None:
        if not _ID.fullmatch(file_id):
            return None
        return _read(self.data(workspace_id, file_id).with_suffix(".json"), StoredFile)

    def files(self, workspace_id: int) -> list[StoredFile]:
        """All files, newest first."""
        folder = self._root / str(workspace_id) / "files"
        names = sorted((path.name for path in _listed(folder) if path.suffix == ".json" and _ID.fullmatch(path.stem)), reverse=True)
        return [found for name in names if (found := _read(folder / name, StoredFile)) is not None]

    def data(self, workspace_id: int, file_id: str) -> Path:
        """Where a file's content is."""
        return self._place(workspace_id, "files", file_id).with_suffix(".data")

    def remove_file(self, workspace_id: int, file_id: str) -> None:
        place = self.data(workspace_id, file_id)
        place.with_suffix(".json").unlink(missing_ok=True)
        place.unlink(missing_ok=True)

    def used_bytes(self, workspace_id: int) -> int:
        """What the files of a workspace take."""
        return sum([file.size for file in self.files(workspace_id)])

    # -- batches --

    def add(self, batch: Batch) -> None:
        """Stores a batch durably; it is worked off from then on."""
        folder = self.work(batch.workspace_id, batch.id)
        folder.mkdir(mode=0o700, parents=True)
        _write(folder / "batch.json", msgspec.json.encode(batch))
        mark = self._place(batch.workspace_id, "open", batch.id)
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch()
        _sync(mark.parent)

    def batch(self, workspace_id: int, batch_id: str) -> Batch | None:
        if not _ID.fullmatch(batch_id):
            return None
        return _read(self.work(workspace_id, batch_id) / "batch.json", Batch)

    def batches(self, workspace_id: int) -> list[Batch]:
        """All batches, newest first."""
        names = sorted((path.name for path in _listed(self._root / str(workspace_id) / "work")), reverse=True)
        return [found for name in names if (found := self.batch(workspace_id, name)) is not None]

    def open(self) -> list[Batch]:
        """Batches of every workspace that have not ended, oldest first."""
        found: list[Batch] = []
        for workspace in self.workspaces():
            for mark in _listed(self._root / str(workspace) / "open"):
                batch = self.batch(workspace, mark.name)
                if batch is None or self.ended(batch) is not None:
                    mark.unlink(missing_ok=True)
                else:
                    found.append(batch)
        return sorted(found, key=lambda batch: batch.id)

    def workspaces(self) -> list[int]:
        """Those that have anything here."""
        return sorted(int(path.name) for path in _listed(self._root) if path.name.isdigit())

    def work(self, workspace_id: int, batch_id: str) -> Path:
        """The folder of a batch."""
        return self._place(workspace_id, "work", batch_id)

    def answers(self, batch: Batch) -> Path:
        return self.work(batch.workspace_id, batch.id) / "answers.jsonl"

    def start(self, batch: Batch, started: Started) -> None:
        """Says that the lines of a batch are good."""
        _write(self.work(batch.workspace_id, batch.id) / "started.json", msgspec.json.encode(started))

    def started(self, batch: Batch) -> Started | None:
        return _read(self.work(batch.workspace_id, batch.id) / "started.json", Started)

    def note(self, batch: Batch, counts: Counts) -> None:
        """Says how far a batch is, for whoever asks meanwhile."""
        place = self.work(batch.workspace_id, batch.id) / "counts.json"
        part = place.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(counts))
        part.replace(place)

    def counts(self, batch: Batch) -> Counts:
        """What was noted last."""
        return _read(self.work(batch.workspace_id, batch.id) / "counts.json", Counts) or Counts()

    def cancel(self, batch: Batch, now_ns: int) -> None:
        """Asks for the end of a batch; the first asking counts."""
        mark = self.work(batch.workspace_id, batch.id) / "cancel"
        if not mark.exists():
            _write(mark, str(now_ns).encode())

    def cancelled_ns(self, batch: Batch) -> int:
        """When its end was asked for; 0 when it was not."""
        try:
            return int((self.work(batch.workspace_id, batch.id) / "cancel").read_bytes())
        except FileNotFoundError:
            return 0

    def end(self, batch: Batch, ended: Ended) -> Ended:
        """Stores how a batch ended, durably, and gives what is stored: the first end that was ever written."""
        folder = self.work(batch.workspace_id, batch.id)
        part = folder / f".ended.{secrets.token_hex(4)}"
        _write(part, msgspec.json.encode(ended))
        try:
            os.link(part, folder / "ended.json")  # unlike a rename, a link never replaces
        except FileExistsError:
            ended = msgspec.json.decode((folder / "ended.json").read_bytes(), type=Ended)
        finally:
            part.unlink()
            _sync(folder)
        self._place(batch.workspace_id, "open", batch.id).unlink(missing_ok=True)
        return ended

    def ended(self, batch: Batch) -> Ended | None:
        return _read(self.work(batch.workspace_id, batch.id) / "ended.json", Ended)

    def remove(self, batch: Batch) -> None:
        """Deletes a batch that has ended; its files stay."""
        shutil.rmtree(self.work(batch.workspace_id, batch.id), ignore_errors=True)

    @contextmanager
    def turn(self, batch: Batch) -> Iterator[bool]:
        """Whether this process alone works on a batch until the block ends."""
        descriptor = os.open(self.work(batch.workspace_id, batch.id) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _place(self, workspace_id: int, folder: str, name: str) -> Path:
        if not _ID.fullmatch(name):  # callers check first: an id from outside never reaches the file system
            raise ValueError(f"{name!r} is no id of a file or batch.")
        return self._root / str(workspace_id) / folder / name


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Writes a file that appears whole or not at all, and is on the disk when this returns."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Puts a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

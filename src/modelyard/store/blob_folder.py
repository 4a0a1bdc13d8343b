"""Blobs in a local folder: ``sha256/ab/abcd…``, each published by a rename after fsync."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class FolderBacking:
    """Files under ``root/sha256``; the modification time is when a blob was last put."""

    def __init__(self, root: Path) -> None:
        self._root = root / "sha256"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self, digest: str, path: Path) -> None:
        target = self._path(digest)
        if not target.parent.exists():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            fsync_folder(self._root)
        # Replaced even when it is there: the new file is young, and heals a damaged one.
        path.replace(target)
        fsync_folder(target.parent)

    def open(self, digest: str) -> BinaryIO | None:
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            return None

    def fetch(self, digest: str, to: Path) -> bool:
        source = self._path(digest)
        try:
            os.link(source, to)
        except FileNotFoundError:
            if source.exists():
                raise  # it is the folder of ``to`` that is missing
            return False
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
                raise
            shutil.copyfile(source, to)
        return True

    def size(self, digest: str) -> int | None:
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def delete_older(self, digest: str, min_age_seconds: float) -> int | None:
        path = self._path(digest)
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        if min_age_seconds and time.time() - found.st_mtime < min_age_seconds:
            return None
        path.unlink()
        return found.st_size

    def list(self) -> Iterator[tuple[str, int, float]]:
        now = time.time()
        for folder in sorted(self._root.iterdir()):
            for path in folder.iterdir():
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                yield path.name, found.st_size, now - found.st_mtime

    def _path(self, digest: str) -> Path:
        return self._root / digest[:2] / digest


def fsync_folder(folder: Path) -> None:
    """Makes renames inside a folder durable."""
    fsync_file(folder)


def fsync_file(path: Path) -> None:
    """Makes what was written to a file durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def shared(lock_file: Path) -> Iterator[None]:
    """Held by any number of holders, but by none while one is ``exclusive``; ends with the process."""
    with _locked(lock_file, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Held by one holder alone; ends with the process."""
    with _locked(lock_file, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(lock_file: Path, how: int) -> Iterator[None]:
    handle = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)

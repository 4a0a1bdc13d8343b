"""Backups: one archive of database, blobs and results that is consistent while the platform runs, and its restoration.

The archive is a tar: ``header.json`` first, then ``database.jsonl.gz``, ``blobs/DIGEST`` and ``files/…``, and ``manifest.json``
last with the digest of every part, so that one that was cut off shows. Not in it: caches, logs of the platform, and usage of the
last moments that the controller had not yet folded into the database.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from modelyard import __version__
from modelyard.core.errors import NotFound
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store
from modelyard.store.dump import Digests, dump
from modelyard.store.home import LAYOUT, Home
from modelyard.store.migrate import current
from modelyard.store.tables import HEAD

FORMAT = 1
HEADER, DATABASE, MANIFEST = "header.json", "database.jsonl.gz", "manifest.json"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader must know before it goes on."""

    format: int = FORMAT
    layout: int = LAYOUT
    schema: str = HEAD
    modelyard: str = __version__
    created_ns: int = 0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the archive as it was written."""

    name: str
    digest: str
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The last member: everything before it."""

    rows: int
    parts: tuple[Part, ...]
    missing: tuple[str, ...] = ()
    """Blobs that a version or data set needs and the store lacked already."""


def backup(store: Store, blobs: Blobs, home: Home, out: BinaryIO) -> Manifest:
    """Writes an archive to ``out``, which may be a pipe. The platform may run meanwhile: the archive shows one moment."""
    home.temporary.mkdir(parents=True, exist_ok=True)
    spool = home.temporary / f"backup-{uuid.uuid4().hex}"
    digests = Digests()
    try:
        with store.read() as session:
            header = Header(schema=current(session.connection), created_ns=store.clock.time_ns())
            rows = _spool_rows(dump(session.connection, digests), spool)
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, HEADER, io.BytesIO(msgspec.json.encode(header)))
            with spool.open("rb") as stream:
                parts = [_add(archive, DATABASE, stream)]
            lost = []
            for digest in sorted(digests.mentioned):
                found = _blob_part(archive, blobs, digest)
                if found is not None:
                    parts.append(found)
                elif digest in digests.needed:
                    lost.append(digest)
            for name, path in _files(home):
                copied = _add_file(archive, name, path, spool)
                parts += [copied] if copied is not None else []
            manifest = Manifest(rows=rows, parts=tuple(parts), missing=tuple(lost))
            _add(archive, MANIFEST, io.BytesIO(msgspec.json.encode(manifest)))
    finally:
        spool.unlink(missing_ok=True)
    return manifest


def backup_to_file(store: Store, blobs: Blobs, home: Home, path: Path) -> Manifest:
    """As ``backup``, into a file that appears when it is whole and on disk."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as out:
            os.fchmod(out.fileno(), 0o600)
            manifest = backup(store, blobs, home, out)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return manifest


def migrate_after_backup(store: Store, blobs: Blobs, home: Home) -> Path | None:
    """Brings the database to this version's schema; one that holds another schema is backed up first, into ``HOME/backups``.

    The backup's path, where one was made. Raises Conflict when the database is newer than this version of Modelyard.
    """
    with store.read() as session:
        stamp = current(session.connection)
    kept = None
    if stamp not in {"", HEAD}:
        kept = home.root / "backups" / f"schema-{stamp}-{time.time_ns()}.tar"
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        backup_to_file(store, blobs, home, kept)
    store.migrate()
    return kept


def _spool_rows(lines: Iterator[bytes], spool: Path) -> int:
    count = 0
    with gzip.open(spool, "wb", compresslevel=3) as out:
        for line in lines:
            out.write(line)
            count += 1
    return count


def _files(home: Home) -> Iterator[tuple[str, Path]]:
    kept = [folder for folder in (home.predictions, home.batches) if folder.is_dir()]
    places = [path for folder in kept for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    places += home.jobs.glob("*/log.txt") if home.jobs.is_dir() else []
    for path in sorted(places):
        yield f"files/{path.relative_to(home.root).as_posix()}", path


def _blob_part(archive: tarfile.TarFile, blobs: Blobs, digest: str) -> Part | None:
    try:
        size = blobs.size(digest)
        with blobs.open_blob(digest) as stream:
            return _add(archive, f"blobs/{digest}", stream, size)
    except NotFound:
        return None


def _add_file(archive: tarfile.TarFile, name: str, path: Path, spool: Path) -> Part | None:
    # Copied first: a log may grow while it is read, and a member's size stands before its content.
    try:
        shutil.copyfile(path, spool)
    except FileNotFoundError:
        return None  # its time was over meanwhile
    with spool.open("rb") as stream:
        return _add(archive, name, stream)


def _add(archive: tarfile.TarFile, name: str, stream: BinaryIO, size: int = -1) -> Part:
    if size < 0:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    hashing = _Hashing(stream)
    archive.addfile(member, hashing)
    return Part(name=name, digest=hashing.hash.hexdigest(), size=size)


class _Hashing(io.RawIOBase):
    """A stream that hashes what is read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self.hash.update(chunk)
        return chunk

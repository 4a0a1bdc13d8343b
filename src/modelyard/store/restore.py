"""Restoring a backup into an empty home: verified whole before anything of it is put in place."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
import tarfile
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from modelyard.core.errors import Conflict, InvalidData, Unavailable
from modelyard.store.backup import DATABASE, FORMAT, HEADER, MANIFEST, Header, Manifest, Part
from modelyard.store.blob_folder import fsync_folder
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store
from modelyard.store.dump import load
from modelyard.store.home import LAYOUT, Home
from modelyard.store.migrate import migrate, upgrade
from modelyard.store.tables import HEAD
from modelyard.store.upgrade import is_empty, prepare_home

_BLOB = re.compile(r"blobs/([0-9a-f]{64})")
_FILE = re.compile(r"files/(?:predictions|batches|jobs)/[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")
_SMALL = 1 << 30
T = TypeVar("T")


def restore(path: Path, home: Home, *, database_url: str = "", blob_url: str = "") -> Manifest:
    """Puts a backup into an empty or absent home; into another database or blob store where URLs are given, which must be empty.

    Everything is laid beside the home and verified first; on any error the home is as it was. Blobs behind a URL may stay, unnamed.
    Raises InvalidData for a damaged or foreign archive, Conflict when the home is in use, not empty, or older than the archive,
    Unavailable when the place cannot be written.
    """
    # Beside the home, to take its place by one rename; a volume that is mounted there can only be filled from inside.
    mounted = home.root.is_mount()
    stage = Home((home.root if mounted else home.root.parent) / f".{home.root.name}.restore-{uuid.uuid4().hex}")
    try:
        _refuse_used(home, stage.root)
        home.root.parent.mkdir(parents=True, exist_ok=True)
        prepare_home(stage)
        blobs = Blobs.open(blob_url or str(stage.blobs), stage.temporary)
        store = Store.open(database_url or f"sqlite:///{stage.database}")
        try:
            with _damage_noticed(path), tarfile.open(path, "r|") as archive:
                manifest = _restore(archive, stage, blobs, store)
        finally:
            store.close()
        for left in stage.temporary.iterdir():
            left.unlink()
        _refuse_used(home, stage.root)  # a platform may have been started there meanwhile
        _fill(stage, home) if mounted else _put_in_place(stage, home)
    except OSError as error:
        raise Unavailable(f"{home.root} cannot be restored: {error.strerror or error}; make room, or choose another folder.") from error
    finally:
        shutil.rmtree(stage.root, ignore_errors=True)
    return manifest


def _refuse_used(home: Home, but: Path) -> None:
    """Raises Conflict when a platform runs on the home, or it holds anything outside of ``but``."""
    if home.lock_file.exists():
        handle = os.open(home.lock_file, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"A platform runs on {home.root}; stop it with 'modelyard down', or restore into another home.") from error
        finally:
            os.close(handle)
    if home.root.exists() and not is_empty(home, but):
        raise Conflict(f"{home.root} is not empty; restore into a new folder with --home.")


@contextmanager
def _damage_noticed(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, msgspec.MsgspecError) as error:
        raise InvalidData(f"{path.name} is no backup of Modelyard, or it is damaged: {error}.") from error


def _restore(archive: tarfile.TarFile, stage: Home, blobs: Blobs, store: Store) -> Manifest:
    members = iter(archive)
    header = _read_header(archive, next(members, None))
    found: dict[str, Part] = {}
    rows = stage.temporary / "rows"
    for member in members:
        stream = archive.extractfile(member) if member.isfile() else None
        if stream is None or member.name in found:
            raise InvalidData(f"The backup is damaged: its member {member.name!r} is not to be expected.")
        if member.name == MANIFEST:
            manifest = msgspec.json.decode(_read_small(stream), type=Manifest)
            _check(manifest, found)
            _load_rows(store, rows, header, manifest)
            return manifest
        found[member.name] = _keep(member, stream, stage, blobs, rows)
    raise InvalidData("The backup is cut off: its end is missing; use another one.")


def _read_header(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> Header:
    stream = archive.extractfile(member) if member is not None and member.name == HEADER else None
    if stream is None:
        raise InvalidData("The file is no backup of Modelyard.")
    header = msgspec.json.decode(_read_small(stream), type=Header)
    if header.format > FORMAT or header.layout > LAYOUT:
        raise Conflict(f"The backup was made by a newer Modelyard ({header.modelyard}); restore it with that version.")
    return header


def _keep(member: tarfile.TarInfo, stream: IO[bytes], stage: Home, blobs: Blobs, rows: Path) -> Part:
    blob = _BLOB.fullmatch(member.name)
    if blob is not None:
        put = blobs.put(iter(lambda: stream.read(1 << 20), b""))
        if put.digest != blob[1]:
            raise InvalidData(f"The backup is damaged: blob {blob[1]} has other content.")
        return Part(name=member.name, digest=put.digest, size=put.size)
    if member.name == DATABASE:
        target = rows
    elif _FILE.fullmatch(member.name) and not {".", ".."}.intersection(member.name.split("/")):
        target = stage.root / member.name.removeprefix("files/")
    else:
        raise InvalidData(f"The backup is damaged: its member {member.name!r} is not to be expected.")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hashed, size = hashlib.sha256(), 0
    with target.open("xb") as out:
        while chunk := stream.read(1 << 20):
            hashed.update(chunk)
            size += out.write(chunk)
    return Part(name=member.name, digest=hashed.hexdigest(), size=size)


def _check(manifest: Manifest, found: dict[str, Part]) -> None:
    for part in manifest.parts:
        if found.get(part.name) != part:
            raise InvalidData(f"The backup is damaged: its member {part.name!r} is missing or has other content.")
    if len(found) != len(manifest.parts) or DATABASE not in found:
        raise InvalidData("The backup is damaged: it does not hold what its manifest says.")


def _load_rows(store: Store, rows: Path, header: Header, manifest: Manifest) -> None:
    with store.write() as session:
        if header.schema == HEAD:
            migrate(session.connection, store.clock)
        else:
            upgrade(session.connection, header.schema)
        with gzip.open(rows, "rb") as lines:
            count = load(session.connection, lines)
        if count != manifest.rows:
            raise InvalidData(f"The backup is damaged: it has {count} rows instead of {manifest.rows}.")
        if header.schema != HEAD:
            upgrade(session.connection, HEAD)


def _put_in_place(stage: Home, home: Home) -> None:
    shutil.rmtree(home.root, ignore_errors=True)  # holds nothing but empty folders, locks and logs
    stage.root.rename(home.root)
    fsync_folder(home.root.parent)


def _fill(stage: Home, home: Home) -> None:
    # The layout's number comes last: without it nothing takes the folder for a home.
    for item in sorted(stage.root.iterdir(), key=lambda path: path == stage.layout_file):
        target = home.root / item.name
        if target.is_dir():
            shutil.rmtree(target)
        item.rename(target)
        fsync_folder(home.root)


def _read_small(stream: IO[bytes]) -> bytes:
    return stream.read(_SMALL)

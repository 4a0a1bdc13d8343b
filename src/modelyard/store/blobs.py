"""Blobs: files by the SHA-256 of their content, in a local folder or in an object store.

Whoever puts a blob and names it in a row does so in that order; ``delete_older`` is the only way a blob goes, and it cannot
pass a ``put`` of the same content (both take the same lock), so a blob that was just put is never lost.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

import msgspec

from modelyard.core.errors import Internal, InvalidRequest, NotFound, TooLarge, Unavailable
from modelyard.store.blob_backing import Backing, RemoteBacking, parse_remote
from modelyard.store.blob_folder import FolderBacking, exclusive, fsync_file, shared

CHUNK = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blob(msgspec.Struct, frozen=True):
    """What was put: SHA-256 (hex) and size in bytes."""

    digest: str
    size: int


class StoredBlob(NamedTuple):
    """A blob as it is kept; its age counts from the last time it was put."""

    digest: str
    size: int
    age_seconds: float


class Blobs:
    """All blobs of a platform. Safe to use from threads and from processes of one machine at the same time."""

    def __init__(self, backing: Backing, spool: Path, lock_file: Path) -> None:
        self._backing = backing
        self._spool = spool
        self._lock_file = lock_file

    @classmethod
    def open(cls, url: str, temporary: Path) -> Blobs:
        """Blobs in a folder (a path or ``file://…``) or behind any object store of fsspec (``s3://bucket/prefix``).

        Options of the file system may follow as a query: ``s3://bucket/prefix?endpoint_url=http://127.0.0.1:9000``.
        Raises InvalidRequest for a URL that cannot be used.
        """
        scheme = urlsplit(url).scheme
        if scheme in {"", "file"}:
            root = Path(urlsplit(url).path if scheme else url).absolute()
            # Unfinished files lie on the same file system as the finished ones, so that a rename publishes them.
            spool = root / "incoming"
            spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(FolderBacking(root), spool, root / ".lock")
        temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(RemoteBacking(*parse_remote(url)), temporary, temporary / ".blobs.lock")

    def put(self, stream: BinaryIO | Iterable[bytes], *, limit: int = 0) -> Blob:
        """Stores what the stream gives, durably, all or nothing. Content that is there already becomes young again.

        Raises TooLarge when it is over ``limit`` bytes (0: none), Unavailable when there is no room.
        """
        path = self._spool / f"{uuid.uuid4().hex}.part"
        try:
            with _disk_errors():
                blob = _spool(stream, path, limit)
                with shared(self._lock_file):
                    self._backing.place(blob.digest, path)
            return blob
        finally:
            path.unlink(missing_ok=True)

    def put_file(self, path: Path) -> Blob:
        """Stores a copy of a file; as ``put``."""
        with path.open("rb") as stream:
            return self.put(stream)

    def open_blob(self, digest: str) -> BinaryIO:
        """The content as a stream, which the caller closes. It is not verified: use ``fetch`` before running anything.

        Raises NotFound.
        """
        with _disk_errors():
            stream = self._backing.open(check_digest(digest))
        if stream is None:
            raise NotFound(f"There is no blob {digest}.")
        return stream

    def fetch(self, digest: str, to: Path) -> Path:
        """Lays the content at ``to``, which appears whole and verified or not at all; a hard link where that can be.

        The file must not be written to. Raises NotFound, or Internal when the stored content is damaged.
        """
        check_digest(digest)
        part = to.with_name(f".{to.name[:100]}.{uuid.uuid4().hex}.part")
        try:
            with _disk_errors():
                if not self._backing.fetch(digest, part):
                    raise NotFound(f"There is no blob {digest}.")
                if _digest_of(part) != digest:
                    raise Internal(f"Blob {digest} is damaged in the store; restore it from a backup or push its file again.")
                if part.stat().st_nlink == 1:
                    fsync_file(part)
                part.replace(to)
        finally:
            part.unlink(missing_ok=True)
        return to

    def exists(self, digest: str) -> bool:
        return self._size(digest) is not None

    def size(self, digest: str) -> int:
        """Bytes of a blob.

        Raises NotFound.
        """
        found = self._size(digest)
        if found is None:
            raise NotFound(f"There is no blob {digest}.")
        return found

    def delete(self, digest: str) -> None:
        """Removes a blob whatever its age; nothing happens when there is none."""
        self.delete_older(digest, 0.0)

    def delete_older(self, digest: str, min_age_seconds: float) -> int | None:
        """Removes a blob that was not put within the last ``min_age_seconds``; the bytes that went, None when it stays or is not there."""
        with _disk_errors(), exclusive(self._lock_file):
            return self._backing.delete_older(check_digest(digest), min_age_seconds)

    def list(self) -> Iterator[StoredBlob]:
        """Every blob, in no order."""
        with _disk_errors():
            for digest, size, age in self._backing.list():
                if _DIGEST.fullmatch(digest):
                    yield StoredBlob(digest, size, age)

    def sweep(self, min_age_seconds: float) -> None:
        """Removes what uploads that were killed have left behind."""
        for path in self._spool.glob("*.part"):
            try:
                if time.time() - path.stat().st_mtime >= min_age_seconds:
                    path.unlink()
            except FileNotFoundError:
                continue  # its upload has ended meanwhile

    def _size(self, digest: str) -> int | None:
        with _disk_errors():
            return self._backing.size(check_digest(digest))


def check_digest(digest: str) -> str:
    """``digest`` itself when it is one.

    Raises InvalidRequest.
    """
    if not _DIGEST.fullmatch(digest):
        raise InvalidRequest(f"{digest[:80]!r} is no SHA-256 digest: it has 64 characters of 0-9 and a-f.")
    return digest


def _spool(stream: BinaryIO | Iterable[bytes], path: Path, limit: int) -> Blob:
    hashed, size = hashlib.sha256(), 0
    with path.open("xb") as out:
        os.fchmod(out.fileno(), 0o600)
        for chunk in _chunks(stream):
            size += len(chunk)
            if limit and size > limit:
                raise TooLarge(f"The upload is over the limit of {limit} bytes.")
            hashed.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return Blob(hashed.hexdigest(), size)


def _chunks(stream: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    read = getattr(stream, "read", None)
    if read is None:
        yield from stream
        return
    while chunk := read(CHUNK):
        yield chunk


def _digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unavailable(f"The blob store cannot be used now: {reason}; see that it is reachable and has room.") from error

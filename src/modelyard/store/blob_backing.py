"""Where the bytes of blobs lie: the seam, and object stores through fsspec."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

from modelyard.core.errors import InvalidRequest
from modelyard.core.plugins import load_string

_OWN_ERRORS = {"s3": "botocore.exceptions:BotoCoreError", "s3a": "botocore.exceptions:BotoCoreError"}
"""Errors that a file system raises besides OSError."""


class Backing(Protocol):
    """Keeps files by digest. ``Blobs`` hashes, verifies and locks; a backing only stores.

    Every method may be called from several threads and raises OSError (or a subclass) when the storage fails. A blob becomes
    visible whole or not at all.
    """

    def place(self, digest: str, path: Path) -> None:
        """Stores the file at ``path``, which may be moved away, and makes the blob young, also when it is there already."""

    def open(self, digest: str) -> BinaryIO | None:
        """The content; None when there is none."""

    def fetch(self, digest: str, to: Path) -> bool:
        """Lays the content at ``to``; False when there is none."""

    def size(self, digest: str) -> int | None:
        """Bytes; None when there is none."""

    def delete_older(self, digest: str, min_age_seconds: float) -> int | None:
        """Removes a blob that is at least so old; its bytes, or None when it stays."""

    def list(self) -> Iterator[tuple[str, int, float]]:
        """(digest, size, age in seconds) of everything stored."""


class RemoteBacking:
    """Objects ``PREFIX/sha256/ab/abcd…`` of an fsspec file system whose writes are atomic, as those of object stores are."""

    def __init__(self, protocol: str, prefix: str, options: Mapping[str, Any]) -> None:
        try:
            import fsspec  # takes a while, and a local folder does without

            self._files = fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True, **options)
        except (ImportError, ValueError, TypeError) as error:
            hint = "; install it with: pip install 'modelyard[s3]'" if protocol in _OWN_ERRORS else ""
            raise InvalidRequest(f"Blobs cannot be kept behind {protocol!r}: {error}{hint}") from error
        self._root = f"{prefix.rstrip('/')}/sha256"
        self._errors: type[Exception] = load_string(_OWN_ERRORS[protocol]) if protocol in _OWN_ERRORS else OSError

    def place(self, digest: str, path: Path) -> None:
        with self._translated():
            self._files.put_file(str(path), self._path(digest))

    def open(self, digest: str) -> BinaryIO | None:
        with self._translated():
            try:
                return cast("BinaryIO", self._files.open(self._path(digest), "rb"))
            except FileNotFoundError:
                return None

    def fetch(self, digest: str, to: Path) -> bool:
        with self._translated():
            try:
                self._files.get_file(self._path(digest), str(to))
            except FileNotFoundError:
                if not to.parent.is_dir():
                    raise
                return False
        return True

    def size(self, digest: str) -> int | None:
        found = self._info(digest)
        return None if found is None else int(found["size"])

    def delete_older(self, digest: str, min_age_seconds: float) -> int | None:
        found = self._info(digest)
        if found is None or (min_age_seconds and _age(found) < min_age_seconds):
            return None
        with self._translated():
            self._files.rm_file(self._path(digest))
        return int(found["size"])

    def list(self) -> Iterator[tuple[str, int, float]]:
        with self._translated():
            try:
                found = self._files.find(self._root, detail=True, refresh=True)
            except FileNotFoundError:
                return
        for path, info in found.items():
            yield path.rpartition("/")[2], int(info["size"]), _age(info)

    def _info(self, digest: str) -> dict[str, Any] | None:
        with self._translated():
            try:
                return cast("dict[str, Any]", self._files.info(self._path(digest), refresh=True))
            except FileNotFoundError:
                return None

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            raise
        except self._errors as error:
            raise ConnectionError(str(error)) from error


def parse_remote(url: str) -> tuple[str, str, dict[str, str]]:
    """Protocol, prefix and options of ``PROTOCOL://PREFIX?OPTION=VALUE``.

    Raises InvalidRequest when there is nothing after the protocol.
    """
    parts = urlsplit(url)
    prefix = f"{parts.netloc}{parts.path}".rstrip("/")
    if not prefix:
        raise InvalidRequest(f"{url!r} names no place for blobs; use a folder or a URL like s3://bucket/prefix.")
    return parts.scheme, prefix, dict(parse_qsl(parts.query))


def _age(info: Mapping[str, Any]) -> float:
    changed = info.get("LastModified") or info.get("mtime") or info.get("created")
    if changed is None:
        return 0.0  # never old enough to be collected
    at = changed.timestamp() if hasattr(changed, "timestamp") else float(changed)
    return max(0.0, time.time() - at)

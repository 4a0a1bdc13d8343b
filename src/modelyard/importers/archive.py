"""The one extractor of archives: plain files only, inside the target, within limits."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from modelyard.core.errors import InvalidArtifact
from modelyard.registry.artifacts import MAX_FILES, check_path

_PIECE = 1 << 20
_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class ArchiveLimits(NamedTuple):
    """What an archive may unpack to."""

    files: int = MAX_FILES
    bytes: int = 32 << 30
    ratio: int = 200
    """Unpacked over packed size, once more than ``ratio_from`` bytes came out."""
    ratio_from: int = 64 << 20


class _Member(NamedTuple):
    path: str
    size: int


def is_archive(path: Path) -> bool:
    """Whether the content is that of a zip or tar archive, compressed or not."""
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except _ERRORS:
        return False


def extract(path: Path, target: Path, limits: ArchiveLimits | None = None) -> int:
    """Unpacks into ``target``, which exists; how many bytes came out.

    Raises InvalidArtifact for a member that is no plain file, that would leave the target or that is there twice, and for an archive
    that is damaged, encrypted, or unpacks to more than the limits; what has come out by then is the caller's to remove.
    """
    bounds = limits or ArchiveLimits()
    packed = max(1, path.stat().st_size)
    seen: set[str] = set()
    written = 0
    try:
        for member, stream in _members(path):
            _check(member, seen, bounds)
            place = target / member.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                while piece := stream.read(_PIECE):
                    written += len(piece)
                    _check_size(path.name, written, packed, bounds)
                    file.write(piece)
    except InvalidArtifact:
        raise
    except _ERRORS as error:
        raise InvalidArtifact(f"The archive {path.name!r} cannot be unpacked: {' '.join(str(error).split())[:200]}.") from None
    return written


def _check(member: _Member, seen: set[str], limits: ArchiveLimits) -> None:
    check_path(member.path)
    folded = member.path.casefold()
    if folded in seen:
        raise InvalidArtifact(f"The archive holds {member.path!r} twice (or differing in case only); pack it again.")
    seen.add(folded)
    if len(seen) > limits.files:
        raise InvalidArtifact(f"The archive holds more than {limits.files} files; pack the model's own files only.")
    if member.size > limits.bytes:
        raise InvalidArtifact(f"{member.path!r} of the archive is {member.size} bytes large, more than the {limits.bytes} allowed.")


def _check_size(name: str, written: int, packed: int, limits: ArchiveLimits) -> None:
    if written > limits.bytes:
        raise InvalidArtifact(f"The archive {name!r} unpacks to more than {limits.bytes} bytes; push the model's own files only.")
    if written > limits.ratio_from and written > limits.ratio * packed:
        raise InvalidArtifact(f"The archive {name!r} unpacks to over {limits.ratio} times its size, as no model does; it is not unpacked.")


def _members(path: Path) -> Iterator[tuple[_Member, IO[bytes]]]:
    return _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path)


def _zip_members(path: Path) -> Iterator[tuple[_Member, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                continue
            if mode and stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
                raise _no_plain_file(info.filename)
            if info.flag_bits & 1:
                raise InvalidArtifact(f"{info.filename!r} of the archive is encrypted; pack it without a password.")
            with archive.open(info) as stream:
                yield _Member(info.filename, info.file_size), stream


def _tar_members(path: Path) -> Iterator[tuple[_Member, IO[bytes]]]:
    with _opened(path) as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg():
                raise _no_plain_file(info.name)
            stream = archive.extractfile(info)
            if stream is None:
                raise _no_plain_file(info.name)
            yield _Member(info.name.removeprefix("./"), info.size), stream


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    # As a stream: a list of members read ahead could be made to fill the memory.
    with tarfile.open(path, "r|*") as archive:
        yield archive


def _no_plain_file(name: str) -> InvalidArtifact:
    return InvalidArtifact(f"{name!r} of the archive is a link, a device or the like; an archive of a model holds plain files only.")

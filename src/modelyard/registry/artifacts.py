"""Artifacts: a model's files as a content-addressed list, and folders laid out from such lists."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
import unicodedata
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from modelyard.core.errors import InvalidArtifact, did_you_mean
from modelyard.core.models import Artifact, ArtifactFile
from modelyard.store.blobs import Blobs

MAX_FILES = 10_000
MAX_PATH_BYTES = 512
_CHUNK = 1 << 20


def check_path(path: str) -> str:
    """``path`` itself when it may name a file inside an artifact: relative, POSIX, plain.

    Raises InvalidArtifact that states the rule.
    """
    parts = path.split("/")
    plain = all(part not in {"", ".", ".."} and len(part.encode(errors="replace")) <= 255 for part in parts)
    printable = not any(unicodedata.category(letter).startswith("C") or letter in "\\:" for letter in path)
    if not plain or not printable or len(path.encode(errors="replace")) > MAX_PATH_BYTES:
        raise InvalidArtifact(
            f"{path[:200]!r} cannot be a file of an artifact: use a relative path with '/' between its parts, without '..', ':', "
            "backslashes or control characters."
        )
    return path


def check_files(files: Iterable[ArtifactFile]) -> tuple[ArtifactFile, ...]:
    """The files sorted by path, when they can be laid out in one folder on any machine.

    Raises InvalidArtifact for a bad path, two paths that some file systems hold equal, a file that is also a folder, too many.
    """
    checked = tuple(sorted(files, key=lambda file: file.path))
    if len(checked) > MAX_FILES:
        raise InvalidArtifact(f"The artifact has {len(checked)} files, more than {MAX_FILES}; pack small ones together.")
    seen: dict[str, str] = {}
    for file in checked:
        folded = _folded(check_path(file.path))
        if folded in seen:
            raise InvalidArtifact(f"The files {seen[folded]!r} and {file.path!r} would be one file on some machines; rename one.")
        seen[folded] = file.path
    for file in checked:
        for parent in PurePosixPath(_folded(file.path)).parents:
            if str(parent) in seen:
                raise InvalidArtifact(f"{seen[str(parent)]!r} is a file and the folder of {file.path!r}; rename one.")
    return checked


def scan(folder: Path) -> tuple[ArtifactFile, ...]:
    """Every file below ``folder`` with its digest.

    Raises InvalidArtifact for anything that is no regular file (links, devices, pipes) and for a name that cannot be kept.
    """
    return check_files(ArtifactFile(path=relative, digest=digest, size=size) for relative, (digest, size) in _hashed(folder))


def describe(folder: Path, entry: str, format_name: str) -> Artifact:
    """The artifact that a folder holds, with ``entry`` as the file that its runtime opens.

    Raises InvalidArtifact as ``scan`` does, and when there is no such file.
    """
    files = scan(folder)
    known = [file.path for file in files]
    if check_path(entry) not in known:
        raise InvalidArtifact(f"The artifact has no file {entry!r} to load.{did_you_mean(entry, known)}")
    return Artifact(format=format_name, digest=artifact_digest(files), files=files, entry=entry)


def artifact_digest(files: Iterable[ArtifactFile]) -> str:
    """SHA-256 of the canonical list of files: a line ``digest size path`` each, sorted by path."""
    hashed = hashlib.sha256(b"modelyard artifact 1\n")
    for file in sorted(files, key=lambda file: file.path):
        hashed.update(f"{file.digest} {file.size} {file.path}\n".encode())
    return hashed.hexdigest()


def lay_out(files: Iterable[ArtifactFile], blobs: Blobs, folder: Path) -> None:
    """Fetches files into ``folder``, each verified, at their paths.

    Raises InvalidArtifact for paths that cannot be, NotFound for a blob that is missing.
    """
    for file in check_files(files):
        target = folder / file.path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        blobs.fetch(file.digest, target)


class ArtifactCache:
    """Artifacts laid out as folders by digest, for runtimes that open files; shared by the processes of a machine.

    A folder appears by a rename when all its files are there and verified, so it is whole or absent, and nobody waits for anybody.
    """

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self._folder = folder
        self._blobs = blobs

    def materialize(self, artifact: Artifact) -> Path:
        """The folder with the artifact's files, which must not be written to.

        Raises NotFound when a blob is missing, Internal when one is damaged.
        """
        target = self._folder / artifact.digest
        if target.is_dir():
            os.utime(target)
            return target
        part = self._folder / f".{artifact.digest[:16]}.{uuid.uuid4().hex}.part"
        part.mkdir(mode=0o700, parents=True)
        try:
            lay_out(artifact.files, self._blobs, part)
            try:
                part.rename(target)
            except OSError:
                # Another process was first; what it has laid out is the same.
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return target

    def prune(self, keep: Collection[str], min_age_seconds: float) -> int:
        """Removes folders that are not in ``keep`` and were not asked for lately; how many went.

        A model that is loaded keeps working: its files live on until it closes them.
        """
        removed = 0
        for folder in list(self._folder.iterdir()) if self._folder.is_dir() else ():
            if folder.name not in keep and time.time() - folder.stat().st_mtime >= min_age_seconds:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _hashed(folder: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        for path in sorted(current.iterdir()):
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                waiting.append(path)
            elif stat.S_ISREG(mode):
                check_path(relative)
                yield relative, _digest(path)
            else:
                kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
                raise InvalidArtifact(f"{relative!r} is {kind}; an artifact holds plain files only, so put the file itself there.")


def _digest(path: Path) -> tuple[str, int]:
    hashed, size = hashlib.sha256(), 0
    # The look and the opening are two steps: a link put there in between is refused as well.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(handle, "rb") as stream:  # noqa: PTH123 -- from a handle
        while chunk := stream.read(_CHUNK):
            hashed.update(chunk)
            size += len(chunk)
    return hashed.hexdigest(), size

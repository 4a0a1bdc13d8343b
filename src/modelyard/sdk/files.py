"""What is inside a model file or folder that somebody wants to push."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from modelyard.core.deployments import Target
from modelyard.core.errors import InvalidArtifact, InvalidData
from modelyard.core.models import Reference

FORMATS = {".onnx": "onnx", ".py": "python"}
"""File ending → format, where the ending alone decides; the server checks the content."""
TEXT_SETTINGS = "text.json"
_FOREIGN = frozenset({"MLmodel", "config.pbtxt", "config.json", "model-settings.json", "saved_model.pb"})
"""Files that say that a folder is of a format of its own, whatever else it holds."""

REMOTE = "remote.json"
"""Says where a model is served that somebody else serves."""

PIECEWISE = 32 << 20
"""Larger files are sent in pieces."""
UPLOAD_PIECE = 4 << 20
RESUMPTIONS = 8
"""How often in a row a piece may fail before an upload is given up; trying it again later goes on from there."""


@dataclass(frozen=True)
class FileToPush:
    """A file on this machine and its path inside the artifact."""

    source: Path
    path: str
    size: int


def is_file_or_folder(text: str) -> bool:
    """Whether a step of a deployment is written as a Python file or a folder, and not as a version."""
    return text.endswith(".py") or Path(text).is_dir()


def collect(path: Path) -> list[FileToPush]:
    """The files of a model: the file itself, or everything in the folder but hidden files, sorted.

    Raises InvalidArtifact when there is nothing to push, or a link leads out of the folder: what it names was hardly meant to be sent.
    """
    if path.is_file():
        return [FileToPush(path, path.name, path.stat().st_size)]
    if not path.is_dir():
        raise InvalidArtifact(f"There is no file or folder {str(path)!r}; give the path of a model, like model.onnx.")
    inside = path.resolve()
    found = []
    for file in sorted(path.rglob("*")):
        if not file.is_file() or any(part.startswith(".") for part in file.relative_to(path).parts):
            continue
        if not file.resolve().is_relative_to(inside):
            raise InvalidArtifact(
                f"{str(file)!r} is a link that leads out of the folder; put the file itself there, for instance with 'cp -rL'."
            )
        found.append(FileToPush(file, file.relative_to(path).as_posix(), file.stat().st_size))
    if not found:
        raise InvalidArtifact(f"The folder {str(path)!r} holds no files; give the path of a model, like model.onnx.")
    return found


def entry_of(files: list[FileToPush]) -> str:
    """Path of the file that a runtime opens: the only one, or the only one of a known format, or ``model.*``.

    Raises InvalidArtifact when that does not decide.
    """
    if len(files) == 1:
        return files[0].path
    if any(file.path == REMOTE for file in files):
        return REMOTE
    known = [file for file in files if Path(file.path).suffix.lower() in FORMATS]
    named = [file for file in known if Path(file.path).stem == "model"]
    for choice in (known, named):
        if len(choice) == 1:
            return choice[0].path
    names = ", ".join(file.path for file in (known or files)[:5])
    raise InvalidArtifact(f"Which file is the model is not clear ({names}); push a single file, or call the main one model.onnx.")


def served_as_is(files: list[FileToPush], wanted: str) -> bool:
    """Whether a runtime loads the files as they are; anything else is imported by the server, which looks at the content."""
    if wanted not in {"", "auto"}:
        return wanted in FORMATS.values()
    names = {Path(file.path).name for file in files}
    suffixes = {Path(file.path).suffix.lower() for file in files}
    # A module's code beside weights is something to convert, not a model in Python.
    foreign = len(files) > 1 and (names & _FOREIGN or ".safetensors" in suffixes)
    return REMOTE in names or (bool(suffixes & FORMATS.keys()) and not foreign)


def detected_format(files: list[FileToPush]) -> str:
    """The format by the entry's ending, or by the settings of a text model beside it; ``onnx`` for an unknown one, whose content the
    server then judges.
    """
    if any(Path(file.path).name == TEXT_SETTINGS for file in files):
        return "hf_onnx"
    entry = entry_of(files)
    return "remote" if entry == REMOTE else FORMATS.get(Path(entry).suffix.lower(), "onnx")


def open_file(path: Path) -> BinaryIO:
    """A file, opened to be sent.

    Raises InvalidArtifact when there is none.
    """
    if not path.is_file():
        raise InvalidArtifact(f"There is no file {str(path)!r}.")
    return path.open("rb")


def open_data(path: Path) -> BinaryIO:
    """A data file, opened to be sent; a folder becomes one archive, the same for the same files.

    Raises InvalidData when there is none.
    """
    if path.is_dir():
        return _packed(path)
    if not path.is_file():
        raise InvalidData(f"There is no file {str(path)!r}; give the path of a table, like data.csv, or of a folder of images.")
    return path.open("rb")


def data_filename(path: Path) -> str:
    """What the file that ``open_data`` gives is called."""
    return f"{path.resolve().name}.zip" if path.is_dir() else path.name


def holds_images(path: Path) -> bool:
    """Whether a path looks like a set of images rather than a table."""
    return path.is_dir() or path.suffix.lower() in {".npz", ".zip"}


def _packed(folder: Path) -> BinaryIO:
    try:
        files = collect(folder)
    except InvalidArtifact as error:
        raise InvalidData(error.message) from None
    if not files:
        raise InvalidData(f"The folder {str(folder)!r} is empty; put the images of each class into a sub-folder of it.")
    stream: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.path), file.source.read_bytes())
    stream.seek(0)
    return stream


def model_name_for(path: Path) -> str:
    """A model name from a file name: ``Penguin Data.csv`` gives ``penguin-data``."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:63].strip("-._") or "model"


def target_of(reference: str, weight: int = 100) -> Target:
    """A target from ``name@version`` or ``name@alias``; without a version the server takes the champion, or the newest one."""
    wanted = Reference.parse(reference)
    return Target(model=wanted.name, version=wanted.version, weight=weight)


def quoted(text: str, *, keep: str = "") -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe=keep)


def digest_of(stream: BinaryIO) -> str:
    """The SHA-256 of a file, in hex."""
    hashed = hashlib.sha256()
    stream.seek(0)
    while piece := stream.read(1 << 20):
        hashed.update(piece)
    return hashed.hexdigest()


def read_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    """A piece of a file."""
    stream.seek(offset)
    return stream.read(size)


def size_of(stream: BinaryIO) -> int:
    """Bytes of a file; it stands at its beginning then."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size

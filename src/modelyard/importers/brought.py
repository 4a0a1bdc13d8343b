"""A look at what was brought, without opening any of it: paths, first bytes, the lists of archives."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from modelyard.core.errors import InvalidArtifact

_TEXT_LIMIT = 4 << 20
_HEAD = 64
_TEXT_HEAD = 4096
_MOST_FILES = 10_000
_MOST_ITEMS = 200_000


class Brought:
    """A folder of files that nobody vouches for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Paths of all regular files, sorted.

        Raises InvalidArtifact when there is anything else but folders.
        """
        return tuple(sorted(self._walk()))

    def _walk(self) -> Iterator[str]:
        waiting, count = [self.folder], 0
        while waiting:
            for path in waiting.pop().iterdir():
                mode = path.lstat().st_mode
                if stat.S_ISDIR(mode):
                    waiting.append(path)
                elif stat.S_ISREG(mode):
                    yield path.relative_to(self.folder).as_posix()
                else:
                    raise InvalidArtifact(
                        f"{path.relative_to(self.folder).as_posix()!r} is no plain file; a model consists of plain files only."
                    )
                count += 1
                if count > _MOST_FILES:
                    raise InvalidArtifact(f"There are more than {_MOST_FILES} files; push the model's own files only.")

    @property
    def only(self) -> str:
        """The path of the only file; empty when there are several."""
        return self.files[0] if len(self.files) == 1 else ""

    def has(self, path: str) -> bool:
        return path in self.files

    def named(self, suffix: str) -> list[str]:
        """Paths that end so."""
        return [path for path in self.files if path.lower().endswith(suffix)]

    def below(self, folder: str) -> Brought:
        """The same look at a folder inside."""
        return Brought(self.folder / folder) if folder else self

    def folders(self) -> list[str]:
        """Names of the folders at the top."""
        return sorted({path.partition("/")[0] for path in self.files if "/" in path})

    def size(self, path: str) -> int:
        return (self.folder / path).stat().st_size

    def head(self, path: str, count: int = _HEAD) -> bytes:
        """The first bytes of a file; nothing of one that is not there."""
        if path not in self.files:
            return b""
        with (self.folder / path).open("rb") as file:
            return file.read(count)

    def first_text(self, path: str) -> str:
        """The beginning of a file, if it is text."""
        try:
            return self.head(path, _TEXT_HEAD).decode()
        except UnicodeDecodeError as error:
            return self.head(path, _TEXT_HEAD)[: error.start].decode() if error.start > _TEXT_HEAD - 4 else ""

    def text(self, path: str) -> str:
        """A whole small text file.

        Raises InvalidArtifact when it is missing, large or no text.
        """
        if path not in self.files:
            raise InvalidArtifact(f"The file {path!r} is missing.")
        if self.size(path) > _TEXT_LIMIT:
            raise InvalidArtifact(f"{path!r} is larger than {_TEXT_LIMIT >> 20} MiB, too large for what it should say.")
        try:
            return (self.folder / path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InvalidArtifact(f"{path!r} is no UTF-8 text ({error.reason} at byte {error.start}).") from None

    def document(self, path: str) -> dict[str, Any]:
        """A JSON object, or YAML by its name.

        Raises InvalidArtifact.
        """
        text = self.text(path)
        try:
            found = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise InvalidArtifact(f"{path!r} cannot be read: {' '.join(str(error).split())[:200]}.") from None
        if not isinstance(found, dict):
            raise InvalidArtifact(f"{path!r} holds no object of names and values.")
        _check_size(found, path)
        return found

    def zip_names(self, path: str) -> list[str]:
        """The list of a zip archive; empty when the file is none."""
        if self.head(path, 4) not in {b"PK\x03\x04", b"PK\x05\x06"}:
            return []
        try:
            with zipfile.ZipFile(self.folder / path) as archive:
                return archive.namelist()
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise InvalidArtifact(f"{path!r} begins like an archive but is damaged: {error}. Save or upload it again.") from None

    def zip_document(self, path: str, member: str) -> Any:
        """A JSON member of a zip archive.

        Raises InvalidArtifact.
        """
        try:
            return json.loads(self.zip_member(path, member))
        except (ValueError, RecursionError) as error:
            raise InvalidArtifact(f"{member!r} of the archive {path!r} is no JSON: {error}.") from None

    def zip_member(self, path: str, member: str) -> bytes:
        """A small member of a zip archive.

        Raises InvalidArtifact when it is missing or large.
        """
        try:
            with zipfile.ZipFile(self.folder / path) as archive, archive.open(member) as file:
                found = file.read(_TEXT_LIMIT + 1)
        except (KeyError, zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
            raise InvalidArtifact(f"{member!r} of the archive {path!r} cannot be read: {error}.") from None
        if len(found) > _TEXT_LIMIT:
            raise InvalidArtifact(
                f"{member!r} of the archive {path!r} is larger than {_TEXT_LIMIT >> 20} MiB, too large for what it should say."
            )
        return found


def _check_size(document: Any, path: str) -> None:
    """Raises InvalidArtifact where references of YAML make more of a document than anybody would write."""
    waiting, count = [document], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > _MOST_ITEMS:
            raise InvalidArtifact(f"{path!r} holds more than {_MOST_ITEMS} items, too many for what it should say.")
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)

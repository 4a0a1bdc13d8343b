"""A folder with a sub-folder for each class, as a zip archive. Nothing is unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath

from modelyard.core.errors import InvalidData
from modelyard.datasets.images.decode import Header, Pixels, UnreadableImage, decode, read_header

_MOST_BYTES = 256 << 20
"""Of one file, unpacked."""
_NOISE = frozenset({"thumbs.db", "desktop.ini", "readme", "readme.md", "readme.txt", "license", "license.txt"})
_OTHER = frozenset({".txt", ".md", ".json", ".csv", ".xml", ".yaml", ".yml", ".html"})
"""Files that lie beside images and say that they are none."""


class ImageFolder:
    """The images of an archive: the folder that a file lies in is its class."""

    form = "folder"

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        """Raises InvalidData when there are no images in folders."""
        self._archive = archive
        self._members = [member for member in archive.infolist() if _wanted(member)]
        self._members.sort(key=lambda member: member.filename)
        loose = [member.filename for member in self._members if len(PurePosixPath(member.filename).parts) < 2]
        if loose:
            raise InvalidData(f"{name} has images outside of any folder, like {loose[0]!r}; put each into a folder named as its class.")
        if not self._members:
            raise InvalidData(f"{name} holds no images; give a folder with a sub-folder for each class.")
        self.names: Sequence[str] = [member.filename for member in self._members]
        self.classes: Sequence[str] = [PurePosixPath(member.filename).parts[-2] for member in self._members]

    def header(self, at: int) -> Header:
        return read_header(self._bytes(at))

    def pixels(self, at: int, channels: int) -> Pixels:
        return decode(self._bytes(at), channels)

    def _bytes(self, at: int) -> bytes:
        member = self._members[at]
        if member.file_size > _MOST_BYTES:
            raise UnreadableImage(f"more than {_MOST_BYTES >> 20} MB")
        try:
            with self._archive.open(member) as file:
                return file.read(_MOST_BYTES)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
            raise UnreadableImage(f"damaged in the archive ({str(error)[:100]})") from None


def _wanted(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename)
    if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in path.parts):
        return False
    return path.name.lower() not in _NOISE and path.suffix.lower() not in _OTHER

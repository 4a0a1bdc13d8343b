"""Answers of any length that are made before they are sent, so that a slow reader holds no transaction open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

_IN_MEMORY = 1 << 20
_PIECE = 1 << 18


def spooled(pieces: Iterable[bytes], folder: Path) -> Iterator[bytes]:
    """The same bytes, after all of them were made; a temporary file in ``folder`` holds what memory should not."""
    return written(lambda file: file.writelines(pieces), folder)


def written(write: Callable[[IO[bytes]], None], folder: Path) -> Iterator[bytes]:
    """What ``write`` writes, after it is done; its errors come at once."""
    with ExitStack() as stack:
        file = stack.enter_context(SpooledTemporaryFile(_IN_MEMORY, dir=str(folder)))
        write(file)
        stack.pop_all()  # it is closed when its last piece is sent
        return _pieces(file)


def _pieces(file: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece

"""Checkpoints: what a training that was ended goes on from, exactly.

A file is the SHA-256 of what follows, then a PyTorch archive of tensors and plain data. The two newest are kept, so that a damaged one,
or a disk that fills up while one is written, costs a little time and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

logger = logging.getLogger(__name__)
_DIGEST = 32
_KEPT = 2


class Shelf(Protocol):
    """Where checkpoints are kept."""

    def keep(self, step: int, content: bytes | memoryview) -> bool:
        """Whether it is there now, whole."""

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of what is there, newest first."""


class Checkpoints:
    """The checkpoints in a folder. ``fingerprint`` says what they are of: others are left alone and not used."""

    def __init__(self, shelf: Path | Shelf, fingerprint: str, seconds: float) -> None:
        self.shelf: Shelf = FolderShelf(shelf) if isinstance(shelf, Path) else shelf
        self._fingerprint, self._seconds = fingerprint, seconds
        self._last = time.monotonic()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In another process, whose clock may be another machine's."""
        self.__dict__ |= state
        self._last = time.monotonic()

    def kept_on(self, shelf: Shelf) -> Checkpoints:
        """The same of this training, kept elsewhere."""
        return Checkpoints(shelf, self._fingerprint, self._seconds)

    @property
    def due(self) -> bool:
        """Whether the newest is as old as one may be."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, step: int, state: dict[str, Any]) -> bool:
        """Writes one, whole or not at all; whether it could be written. A full disk is no reason to stop a training."""
        self._last = time.monotonic()
        packed = io.BytesIO(bytes(_DIGEST))
        packed.seek(_DIGEST)
        torch.save({"fingerprint": self._fingerprint, "step": step, **state}, packed)
        packed.seek(0)
        packed.write(hashlib.sha256(packed.getbuffer()[_DIGEST:]).digest())
        return self.shelf.keep(step, packed.getbuffer())

    def load(self) -> dict[str, Any] | None:
        """The newest that is whole and of this training."""
        for name, content in self.shelf.contents():
            if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
                logger.warning("The checkpoint %s is damaged; the one before it is used", name)
                continue
            state: dict[str, Any] = torch.load(io.BytesIO(content[_DIGEST:]), map_location="cpu", weights_only=True)
            if state["fingerprint"] == self._fingerprint:
                return state
            logger.warning("The checkpoint %s is of other data or of another network, so training starts anew", name)
            return None
        return None


class FolderShelf:
    """A folder of the job's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, step: int, content: bytes | memoryview) -> bool:
        place = self._folder / f"{step:012d}.checkpoint"
        part = place.with_suffix(".part")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(place)
        except OSError as error:
            logger.warning("No checkpoint could be written at step %d (%s); the one before it is kept", step, error.strerror)
            part.unlink(missing_ok=True)
            return False
        for old in self._files()[_KEPT:]:
            old.unlink(missing_ok=True)
        return True

    def contents(self) -> Iterator[tuple[str, bytes]]:
        return ((place.name, place.read_bytes()) for place in self._files())

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self._folder.glob("*.checkpoint"), reverse=True)

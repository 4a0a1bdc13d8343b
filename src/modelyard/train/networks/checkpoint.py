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
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)
_DIGEST = 32
_KEPT = 2


class Checkpoints:
    """The checkpoints in a folder. ``fingerprint`` says what they are of: others are left alone and not used."""

    def __init__(self, folder: Path, fingerprint: str, seconds: float) -> None:
        self._folder, self._fingerprint, self._seconds = folder, fingerprint, seconds
        folder.mkdir(parents=True, exist_ok=True)
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the newest is as old as one may be."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, step: int, state: dict[str, Any]) -> bool:
        """Writes one, whole or not at all; whether it could be written. A full disk is no reason to stop a training."""
        self._last = time.monotonic()
        packed = io.BytesIO()
        torch.save({"fingerprint": self._fingerprint, "step": step, **state}, packed)
        content = packed.getbuffer()
        place = self._folder / f"{step:012d}.checkpoint"
        part = place.with_suffix(".part")
        try:
            with part.open("wb") as file:
                file.write(hashlib.sha256(content).digest())
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

    def load(self) -> dict[str, Any] | None:
        """The newest that is whole and of this training."""
        for place in self._files():
            content = place.read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
                logger.warning("The checkpoint %s is damaged; the one before it is used", place.name)
                continue
            state: dict[str, Any] = torch.load(io.BytesIO(content[_DIGEST:]), map_location="cpu", weights_only=True)
            if state["fingerprint"] == self._fingerprint:
                return state
            logger.warning("The checkpoint %s is of other data or of another network, so training starts anew", place.name)
            return None
        return None

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self._folder.glob("*.checkpoint"), reverse=True)

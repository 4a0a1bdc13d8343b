"""The seam of image sets as they come: names, classes, and pixels on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modelyard.datasets.images.decode import Header, Pixels


class Collection(Protocol):
    """Images in a file. Safe to use from several threads."""

    form: str
    """``folder``, ``npz`` or ``idx``."""
    names: Sequence[str]
    """What each image is called, for people."""
    classes: Sequence[str]
    """The class of each image, by name."""

    def header(self, at: int) -> Header:
        """Size and colour of an image. Raises UnreadableImage."""

    def pixels(self, at: int, channels: int) -> Pixels:
        """An image as it is, in 1 or 3 channels. Raises UnreadableImage."""

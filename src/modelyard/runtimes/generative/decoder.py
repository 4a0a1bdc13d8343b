"""The seam between the engine and a library that computes a decoder: tokens in, logits out, and room for what attention keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Piece(NamedTuple):
    """Tokens of one sequence to compute next."""

    sequence: int
    tokens: Sequence[int]
    past: int
    """Tokens of the sequence that are computed already."""


class Decoder(ABC):
    """A loaded decoder and its memory. Belongs to the engine's thread, which calls nothing else while a call runs.

    A sequence is known by a number. ``admit`` comes first, then ``grow`` and ``forward`` in turn, ``release`` last, whatever failed
    before; a released number may be admitted again. ``forward`` may raise any error of its library: the engine then gives up the
    sequences of that call.
    """

    vocabulary: int
    """Columns of the logits."""
    context_length: int

    @abstractmethod
    def admit(self, sequence: int, tokens: Sequence[int]) -> int | None:
        """Makes room for a prompt; how many of its first tokens need no computing (never all), or None when there is no room now."""

    @abstractmethod
    def grow(self, sequence: int, length: int) -> bool:
        """Makes room for ``length`` tokens in all; False when there is none now, and nothing has changed."""

    @abstractmethod
    def forward(self, pieces: Sequence[Piece]) -> Logits:
        """Computes pieces of different sequences at once; one row for each, of what follows its last token. The caller may change it."""

    @abstractmethod
    def release(self, sequence: int) -> None:
        """Forgets a sequence; unknown ones are none to forget."""

    @abstractmethod
    def close(self) -> None:
        """Frees everything."""

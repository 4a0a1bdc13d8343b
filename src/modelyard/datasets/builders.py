"""Columns while a file is being read: cells come in by the chunk, typed arrays come out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.sniff import NUMBER
from modelyard.datasets.table import MISSING, Column

_DOUBTFUL = re.compile(r"[nN_]|(?:^|\n)\s*[+-]?0[0-9]|[^\x00-\x7f]")
"""What ``float`` takes although a table means no number by it: ``nan``, ``inf``, ``1_000``, ``007``, digits of other scripts."""


class Builder(ABC):
    """One column in the making."""

    @abstractmethod
    def add(self, cells: Sequence[str]) -> int | None:
        """Takes the next cells; the position of the first that does not fit the type, else None."""

    @abstractmethod
    def build(self, name: str, note: str) -> Column:
        """The column; the builder is of no use afterwards."""


class NumberBuilder(Builder):
    """Cells that must be numbers or missing."""

    def __init__(self, markers: frozenset[str], decimal: str = ".") -> None:
        self.decimal = decimal
        self._markers = markers
        self._chunks: list[NDArray[np.float64]] = []

    def add(self, cells: Sequence[str]) -> int | None:
        if self.decimal == "." and not _DOUBTFUL.search("\n".join(cells)):
            try:
                self._chunks.append(np.fromiter(map(float, cells), np.float64, len(cells)))
            except ValueError:
                pass  # A missing marker or a word: looked at cell by cell below.
            else:
                return None
        return self._add_slowly(cells)

    def _add_slowly(self, cells: Sequence[str]) -> int | None:
        values = np.empty(len(cells))
        for at, raw in enumerate(cells):
            cell = raw.strip()
            if cell.casefold() in self._markers:
                values[at] = np.nan
                continue
            if self.decimal != ".":
                if "." in cell:
                    return at
                cell = cell.replace(self.decimal, ".")
            if not NUMBER.fullmatch(cell):
                return at
            values[at] = float(cell)
        self._chunks.append(values)
        return None

    def build(self, name: str, note: str) -> Column:
        values = np.concatenate(self._chunks) if self._chunks else np.empty(0)
        self._chunks.clear()
        beyond = np.flatnonzero(np.isinf(values))
        if len(beyond):
            raise InvalidData(
                f"Column {name!r} has an infinite or far too large number in data row {beyond[0] + 1}; correct the cell or leave it empty."
            )
        return Column(name, values, note=note)


class TextBuilder(Builder):
    """Cells of any text, kept as codes into the distinct values."""

    def __init__(self, markers: frozenset[str]) -> None:
        self._markers = markers
        self._codes: dict[str, int] = {}
        self._chunks: list[NDArray[np.int32]] = []

    def add(self, cells: Sequence[str]) -> int | None:
        codes = self._codes
        code_of = codes.setdefault
        self._chunks.append(np.array([code_of(cell, len(codes)) for cell in cells], dtype=np.int32))
        return None

    def build(self, name: str, note: str) -> Column:
        raw = np.concatenate(self._chunks) if self._chunks else np.empty(0, np.int32)
        self._chunks.clear()
        cleaned = [cell.strip() for cell in self._codes]
        self._codes.clear()
        return encode(name, raw, cleaned, self._markers, note)


def encode(name: str, codes: NDArray[np.int32], words: Sequence[str], markers: frozenset[str], note: str = "") -> Column:
    """A text column from codes into ``words`` (-1 for missing), which may repeat and may contain missing markers."""
    categories = sorted({word for word in words if word.casefold() not in markers})
    place = {word: at for at, word in enumerate(categories)}
    renumber = np.array([*(place.get(word, MISSING) for word in words), MISSING], dtype=np.int32)
    return Column(name, renumber[codes], tuple(categories), note)

"""Columns while a file is being read: cells come in by the chunk, typed arrays come out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.sniff import NUMBER
from modelyard.datasets.table import MISSING, Column

Element = TypeVar("Element", np.float64, np.int32)
_CODE = re.compile(r"\n[+-]?0[0-9]")


def _doubtful(cells: Sequence[str]) -> bool:
    """Whether ``float`` could take a cell that a table means no number by: ``nan``, ``inf``, ``1_000``, ``007``, other scripts' digits."""
    joined = "\n" + "\n".join(cells)
    return not joined.isascii() or any(mark in joined for mark in "nN_ \t") or _CODE.search(joined) is not None


class _Growing(Generic[Element]):
    """An array that grows by the chunk. Large ones grow in place, so that reading takes little more than the table itself."""

    def __init__(self, dtype: type[Element]) -> None:
        self._array: NDArray[Element] = np.empty(0, dtype)
        self._used = 0

    def extend(self, values: NDArray[Element]) -> None:
        end = self._used + len(values)
        if end > len(self._array):
            self._array.resize(end + end // 4, refcheck=False)
        self._array[self._used : end] = values
        self._used = end

    def finish(self) -> NDArray[Element]:
        """The array; to be called once."""
        self._array.resize(self._used, refcheck=False)
        return self._array


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
        self._marker_numbers = [float(marker) for marker in markers if NUMBER.fullmatch(marker)]
        self._values = _Growing(np.float64)

    def add(self, cells: Sequence[str]) -> int | None:
        if self.decimal == "." and not _doubtful(cells):
            try:
                self._values.extend(np.fromiter(map(float, cells), np.float64, len(cells)))
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
        self._values.extend(values)
        return None

    def build(self, name: str, note: str) -> Column:
        values = self._values.finish()
        if self._marker_numbers:
            values[np.isin(values, self._marker_numbers)] = np.nan
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
        self._values = _Growing(np.int32)

    def add(self, cells: Sequence[str]) -> int | None:
        codes = self._codes
        code_of = codes.setdefault
        self._values.extend(np.array([code_of(cell, len(codes)) for cell in cells], dtype=np.int32))
        return None

    def build(self, name: str, note: str) -> Column:
        raw = self._values.finish()
        cleaned = [cell.strip() for cell in self._codes]
        self._codes.clear()
        return encode(name, raw, cleaned, self._markers, note)


def encode(name: str, codes: NDArray[np.int32], words: Sequence[str], markers: frozenset[str], note: str = "") -> Column:
    """A text column from codes into ``words`` (-1 for missing), which may repeat and may contain missing markers."""
    categories = sorted({word for word in words if word.casefold() not in markers})
    place = {word: at for at, word in enumerate(categories)}
    renumber = np.array([*(place.get(word, MISSING) for word in words), MISSING], dtype=np.int32)
    return Column(name, renumber[codes], tuple(categories), note)

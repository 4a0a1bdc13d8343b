"""A table in memory: one typed NumPy array a column.

Numbers are float64 with NaN for missing. Everything else is text, kept as int32 codes into sorted distinct values, with -1 for missing:
a column of a million equal words costs four bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData, did_you_mean

Rows = NDArray[np.intp]
"""Row numbers, counted from 0."""
MISSING = -1
"""The code of a missing text."""


@dataclass(frozen=True)
class Column:
    """One column. ``values`` are float64 when ``categories`` is None, else int32 codes into ``categories``."""

    name: str
    values: NDArray[np.float64] | NDArray[np.int32]
    categories: tuple[str, ...] | None = None
    note: str = ""
    """What the reader wants the owner to know, e.g. the one cell that kept the column from being numbers."""

    @property
    def is_number(self) -> bool:
        return self.categories is None

    @property
    def missing(self) -> NDArray[np.bool_]:
        """True where the row has no value."""
        found: NDArray[np.bool_] = np.isnan(self.values) if self.categories is None else self.values == MISSING
        return found

    @cached_property
    def integers(self) -> bool:
        """Whether every number present is whole (and exactly so in a float64)."""
        if self.categories is not None:
            return False
        present = self.values[~np.isnan(self.values)]
        return bool(np.all(present == np.floor(present)) and np.all(np.abs(present) < 2**53))

    def take(self, rows: Rows) -> Column:
        """The same column with these rows only."""
        return replace(self, values=self.values[rows])

    def texts(self) -> NDArray[np.object_]:
        """Text as a model's input takes it: an object array of ``str``, ``""`` for missing."""
        if self.categories is None:
            raise TypeError(f"column {self.name!r} holds numbers")
        words = np.array([*self.categories, ""], dtype=object)
        found: NDArray[np.object_] = words[self.values]
        return found

    def numbers(self) -> NDArray[np.float32]:
        """Numbers as a model's input takes them: float32, NaN for missing.

        Raises InvalidData when one does not fit.
        """
        with np.errstate(over="ignore"):
            small = self.values.astype(np.float32)
        beyond = np.flatnonzero(np.isinf(small))
        if len(beyond):
            raise InvalidData(
                f"Column {self.name!r} holds {self.values[beyond[0]]:g} in data row {beyond[0] + 1}, which is no finite 32-bit number; "
                "correct the cell, leave it empty, or exclude the column."
            )
        return small


@dataclass(frozen=True)
class Source:
    """How a file was read."""

    name: str
    """The file's name, as its owner knows it."""
    format: str = "csv"
    encoding: str = ""
    separator: str = ""
    header: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Named columns of equal length."""

    columns: tuple[Column, ...]
    source: Source = field(default_factory=lambda: Source(name="table"))

    def __len__(self) -> int:
        return len(self.columns[0].values) if self.columns else 0

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def column(self, name: str, role: str = "column") -> Column:
        """The column called ``name``; raises InvalidData, naming the nearest, when there is none."""
        found = self._by_name.get(name)
        if found is None:
            raise InvalidData(
                f"{self.source.name} has no {role} {name!r}.{did_you_mean(name, self.names)} Its columns: {', '.join(self.names)}."
            )
        return found

    def take(self, rows: Rows) -> Table:
        """The same table with these rows only."""
        return replace(self, columns=tuple(column.take(rows) for column in self.columns))

    def select(self, names: Sequence[str]) -> Table:
        """The same table with these columns only, in this order."""
        return replace(self, columns=tuple(self.column(name) for name in names))

"""What is in a table, column by column, before any preparation."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np

from modelyard.datasets.sniff import NUMBER
from modelyard.datasets.table import Column, Table

_TOP = 10
_LONGEST = 80
"""Characters of a value that a profile shows."""


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column's facts. Numbers have ``min`` to ``std``, and the most frequent values where they repeat; texts have ``top``."""

    name: str
    type: str
    """``number`` or ``text``: how it was read."""
    rows: int
    missing: int
    distinct: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    integers: bool = False
    mean_length: float | None = None
    top: tuple[tuple[str, int], ...] = ()
    """The most frequent values with their counts."""
    note: str = ""

    @property
    def present(self) -> int:
        """Rows that have a value."""
        return self.rows - self.missing


def profile_table(table: Table) -> dict[str, ColumnProfile]:
    """Every column's profile by its name, in the table's order."""
    return {column.name: profile_column(column) for column in table}


def profile_column(column: Column) -> ColumnProfile:
    """One column's profile."""
    return _profile_numbers(column) if column.categories is None else _profile_texts(column, column.categories)


def _profile_numbers(column: Column) -> ColumnProfile:
    rows = len(column.values)
    present = column.values[~np.isnan(column.values)]
    missing = rows - len(present)
    if not len(present):
        return ColumnProfile(name=column.name, type="number", rows=rows, missing=missing, distinct=0)
    values, counts = np.unique(present, return_counts=True)
    order = np.lexsort((values, -counts))[:_TOP] if len(values) < rows else np.empty(0, np.intp)
    return ColumnProfile(
        name=column.name,
        type="number",
        rows=rows,
        missing=missing,
        distinct=len(values),
        min=float(values[0]),
        max=float(values[-1]),
        mean=_finite(present.mean),
        std=_finite(present.std),
        integers=column.integers,
        top=tuple((f"{values[at]:.12g}", int(counts[at])) for at in order),
    )


def _finite(measure: Callable[[], np.floating]) -> float | None:
    """A measure of numbers; None where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = float(measure())
    return value if math.isfinite(value) else None


def _profile_texts(column: Column, categories: tuple[str, ...]) -> ColumnProfile:
    rows = len(column.values)
    codes = column.values[column.values >= 0]
    counts = np.bincount(codes.astype(np.intp), minlength=len(categories))
    used = np.flatnonzero(counts)
    order = used[np.argsort(-counts[used], kind="stable")][:_TOP]
    lengths = np.array([len(word) for word in categories])
    numeric = sum(NUMBER.fullmatch(word) is not None for word in categories)
    return ColumnProfile(
        name=column.name,
        type="text",
        rows=rows,
        missing=rows - len(codes),
        distinct=len(used),
        mean_length=float((lengths * counts).sum() / len(codes)) if len(codes) else None,
        top=tuple((categories[at][:_LONGEST], int(counts[at])) for at in order),
        # A word among words is no news; a word among numbers is.
        note=column.note if numeric > len(categories) / 2 else "",
    )

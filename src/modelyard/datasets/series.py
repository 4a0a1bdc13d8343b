"""Rows of a table in their order in time, group by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.table import Column, Table

_MONTH = 27.5 * 86_400
"""A longer step is counted in months: months differ in length."""
_GAP = 1.5
"""Steps without a row after which a series begins anew."""
_SEASONS = {60: 60, 900: 96, 1_800: 48, 3_600: 24, 86_400: 7, 604_800: 52}
"""Step in seconds → rows after which people expect a season to repeat."""
_MONTHLY = {1: 12, 2: 6, 3: 4, 6: 2}


@dataclass(frozen=True)
class Series:
    """Sorted by group, then time. ``segment`` numbers the stretches without a gap; no window spans two."""

    rows: NDArray[np.intp]
    """The table's row numbers in this order."""
    names: tuple[str, ...]
    """Of the groups; one empty name where there are none."""
    group: NDArray[np.intp]
    position: NDArray[np.float64]
    """On the axis of time, in seconds, months, or the column's own numbers."""
    times: tuple[str, ...]
    """As the file writes them."""
    segment: NDArray[np.intp]
    step: float
    season: int
    gaps: int

    def __len__(self) -> int:
        return len(self.rows)


def read_series(table: Table, time: str, groups: Sequence[str], time_format: str = "") -> Series:
    """Puts a table's rows in order.

    Raises InvalidData with the row where a time is missing, unreadable or there twice.
    """
    names, codes = _groups(table, groups)
    position, times, dated = _positions(table, time, time_format)
    if dated:
        rough = _step(position, codes)
        if rough >= _MONTH:
            position = np.array([_months(seconds) for seconds in position])
    order = np.lexsort((position, codes)).astype(np.intp)
    codes, position = codes[order], position[order]
    same = codes[1:] == codes[:-1]
    step = _step(position, codes)
    change = np.diff(position)
    twice = np.flatnonzero(same & (change <= 0))
    if len(twice):
        first, second = (int(order[at]) for at in (twice[0], twice[0] + 1))
        whose = f" of {names[codes[twice[0]]]!r}" if groups else ""
        hint = "" if groups else ", or name the columns that tell series apart under groups"
        raise InvalidData(
            f"{table.source.name} has two rows{whose} at the time {times[first]!r} (data rows {first + 1} and {second + 1}); "
            f"keep one of them{hint}."
        )
    torn = same & (change > _GAP * step)
    segment = np.concatenate([[0], np.cumsum(torn | ~same)]).astype(np.intp)
    season = _MONTHLY.get(round(step), 1) if dated and rough >= _MONTH else _SEASONS.get(round(step), 1) if dated else 1
    return Series(order, names, codes, position, tuple(times[row] for row in order), segment, step, season, int(torn.sum()))


def _groups(table: Table, groups: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    columns = [table.column(name, "column of groups") for name in groups]
    if not columns:
        return ("",), np.zeros(len(table), np.intp)
    for column in columns:
        if column.missing.any():
            row = int(np.flatnonzero(column.missing)[0]) + 1
            raise InvalidData(f"Data row {row} of {table.source.name} names no {column.name!r}, so it belongs to no series; fill it in.")
    words = [" / ".join(parts) for parts in zip(*(_words(column) for column in columns), strict=True)]
    names, codes = np.unique(np.array(words, dtype=object), return_inverse=True)
    return tuple(str(name) for name in names), codes.astype(np.intp)


def _words(column: Column) -> list[str]:
    return [f"{value:.12g}" for value in column.values] if column.is_number else [str(word) for word in column.texts()]


def _positions(table: Table, time: str, time_format: str) -> tuple[NDArray[np.float64], list[str], bool]:
    """Place on the axis of time, how it is written, and whether these are dates."""
    if not time:
        return np.arange(len(table), dtype=np.float64), [str(row + 1) for row in range(len(table))], False
    column = table.column(time, "column of time")
    missing = np.flatnonzero(column.missing)
    if len(missing):
        raise InvalidData(f"Data row {missing[0] + 1} of {table.source.name} has no {time!r}; fill it in or remove the row.")
    if column.is_number and not time_format:
        return column.values.astype(np.float64), [f"{value:.12g}" for value in column.values], False
    words = _words(column)
    known: dict[str, float] = {}
    for row, word in enumerate(words):
        if word in known:
            continue
        found = _seconds(word, time_format)
        if found is None:
            told = f"it is not written as {time_format}" if time_format else "write it in ISO 8601 (2026-11-30), or set time_format"
            raise InvalidData(f"Data row {row + 1} of {table.source.name} has the time {word[:40]!r}, which cannot be read: {told}.")
        known[word] = found
    return np.array([known[word] for word in words]), words, True


def _seconds(word: str, time_format: str) -> float | None:
    try:
        if time_format:
            found = datetime.strptime(word, time_format)  # noqa: DTZ007 - a time without a zone is taken for UTC
        else:
            found = datetime.fromisoformat(f"{word}-01" if len(word) == 7 and word[4] == "-" else word)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _months(seconds: float) -> float:
    date = datetime.fromtimestamp(seconds, UTC)
    return date.year * 12.0 + date.month + (date.day - 1) / 31


def _step(position: NDArray[np.float64], codes: NDArray[np.intp]) -> float:
    """The usual distance of two rows of a series."""
    order = np.lexsort((position, codes))
    change = np.diff(position[order])[np.diff(codes[order]) == 0]
    change = change[change > 0]
    found = float(np.median(change)) if len(change) else 1.0
    return found if math.isfinite(found) else 1.0

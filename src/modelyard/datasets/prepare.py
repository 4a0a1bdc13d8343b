"""From raw columns to one float32 matrix: missing values filled, numbers scaled, categories one-hot.

What is learned here (fills, scales, categories) comes from the rows that training may see, and is plain data, so that a graph can repeat
it exactly (``train/graph.py``). Every step is one float32 operation an element, in the same order as in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.table import Column, Rows, Table

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class PreparationOptions:
    """How columns are prepared."""

    fill: Literal["median", "mean", "zero"] = "median"
    """What stands in for a missing number."""
    scaling: Literal["standard", "minmax", "none"] = "standard"
    max_categories: int = 50
    """Categories of a column that get a place of their own, the most frequent first; the rest count as none of them."""
    missing_category: Literal["own", "most_frequent"] = "own"
    """Whether a missing category is one of its own or taken for the most frequent."""


@dataclass(frozen=True)
class NumberSteps:
    """All numeric columns: ``(filled - shift) * factor``, one element a column."""

    names: tuple[str, ...]
    fill: Matrix
    shift: Matrix
    factor: Matrix


@dataclass(frozen=True)
class CategorySteps:
    """One text column: a missing value becomes ``fill`` (``""`` stays what it is), then one place for each of ``values``.

    A value that is not among them, ``""`` included, has 0 in every place.
    """

    name: str
    values: tuple[str, ...]
    fill: str = ""


@dataclass(frozen=True)
class Preparation:
    """What was learned of the columns, and how to apply it."""

    numbers: NumberSteps
    categories: tuple[CategorySteps, ...]

    @property
    def feature_names(self) -> list[str]:
        """Names of the matrix's columns: a number's own name, ``column=value`` for a category's places."""
        places = [f"{steps.name}={value}" for steps in self.categories for value in steps.values]
        return [*self.numbers.names, *places]

    @property
    def width(self) -> int:
        return len(self.numbers.names) + sum(len(steps.values) for steps in self.categories)

    def transform(self, table: Table, rows: Rows | None = None) -> Matrix:
        """The matrix of the table's rows (all by default)."""
        count = len(table) if rows is None else len(rows)
        out = np.zeros((count, self.width), np.float32)
        for at, name in enumerate(self.numbers.names):
            values = _taken(table.column(name), rows).numbers()
            filled = np.where(np.isnan(values), self.numbers.fill[at], values)
            out[:, at] = (filled - self.numbers.shift[at]) * self.numbers.factor[at]
        at = len(self.numbers.names)
        for steps in self.categories:
            places = _places(_taken(table.column(steps.name), rows), steps)
            hit = np.flatnonzero(places >= 0)
            out[hit, at + places[hit]] = 1.0
            at += len(steps.values)
        return out


def fit_preparation(table: Table, options: PreparationOptions, rows: Rows | None = None) -> Preparation:
    """Learns the preparation of all the table's columns from these rows (all by default).

    Raises InvalidData when nothing would be left to learn from.
    """
    numbers = [column for column in table if column.is_number]
    categories = tuple(_category_steps(_taken(column, rows), options) for column in table if not column.is_number)
    prepared = Preparation(_number_steps(numbers, options, rows), categories)
    if not prepared.width:
        raise InvalidData(f"{table.source.name} has no feature that varies in the training rows; give more columns or rows.")
    return prepared


def _taken(column: Column, rows: Rows | None) -> Column:
    return column if rows is None else column.take(rows)


def _number_steps(columns: list[Column], options: PreparationOptions, rows: Rows | None) -> NumberSteps:
    steps = np.array([_one_number(_taken(column, rows).numbers(), options) for column in columns], np.float32).reshape(-1, 3)
    return NumberSteps(tuple(column.name for column in columns), steps[:, 0].copy(), steps[:, 1].copy(), steps[:, 2].copy())


def _one_number(values: Matrix, options: PreparationOptions) -> tuple[float, float, float]:
    """Fill, shift and factor of one column."""
    present = values[~np.isnan(values)].astype(np.float64)
    fill = 0.0
    if len(present) and options.fill != "zero":
        fill = float(np.median(present) if options.fill == "median" else present.mean())
    if options.scaling == "none":
        return fill, 0.0, 1.0
    filled = np.where(np.isnan(values), fill, values).astype(np.float64)
    if options.scaling == "standard":
        shift, span = float(filled.mean()), float(filled.std())
    else:
        shift, span = float(filled.min()), float(np.ptp(filled))
    # A span that float32 cannot tell from zero would blow rounding noise up to features.
    steady = span <= 1e-6 * max(1e-30, abs(shift))
    return fill, shift, 1.0 if steady else 1.0 / span


def _category_steps(column: Column, options: PreparationOptions) -> CategorySteps:
    words = column.categories or ()
    counts = np.bincount(column.values.astype(np.intp) + 1, minlength=len(words) + 1)
    missing, counts = int(counts[0]), counts[1:]
    order = np.argsort(-counts, kind="stable")
    frequent = [words[at] for at in order if counts[at]]
    fill = ""
    if options.missing_category == "most_frequent" and frequent:
        fill = frequent[0]
    kept = frequent[: options.max_categories]
    if missing and not fill:
        kept.append("")
    return CategorySteps(column.name, tuple(sorted(kept)), fill)


def _places(column: Column, steps: CategorySteps) -> NDArray[np.intp]:
    """For each row the place among the steps' values, -1 for none of them."""
    place = {value: at for at, value in enumerate(steps.values)}
    words = [*(column.categories or ()), steps.fill]
    of_code = np.array([place.get(word, -1) for word in words], np.intp)
    found: NDArray[np.intp] = of_code[column.values]
    return found

"""What is in a table beside its columns: rows that are there twice, also across the split, values far from all others, and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.datasets.facts import Fact, balance, histogram, outliers
from modelyard.datasets.table import Column, Rows, Table

_LOOKED_AT = 100_000
"""Rows by which columns are judged where there are more."""


def profile_rows(
    table: Table, used: Table, values: NDArray[Any], classes: Sequence[str], *, parts: Mapping[str, Rows], prepared: NDArray[np.floating]
) -> dict[str, Any]:
    """``facts`` before and after preparation, ``splits``, ``notes`` and ``panels``.

    ``table`` is what was read; ``used`` the columns to learn from, of the rows with a target, whose targets are ``values``; ``prepared``
    what families are given of the training rows.
    """
    own = _identities(used, values)
    learned, held = own[parts["train"]], own[parts["held_out"]]
    once = np.unique(learned)
    shared = int((once[np.minimum(np.searchsorted(once, held), len(once) - 1)] == held).sum())
    facts = [
        Fact("rows", len(table), len(own)),
        Fact("columns", len(table.columns), prepared.shape[1]),
        Fact("missing values", int(sum(column.missing.sum() for column in table)), int(np.isnan(prepared).sum())),
        Fact("rows that are there before", len(own) - len(np.unique(own)), len(learned) - len(once)),
        Fact("held-out rows that training sees, too", None, shared),
        Fact("unusual values", sum(column_outliers(column) for column in table), sum(outliers(_some(each)) for each in prepared.T)),
    ]
    splits: list[dict[str, Any]]
    if classes:
        splits, notes = balance(values.astype(np.intp), classes, parts)
        panels = [{"kind": "balance", "title": "classes", "parts": {row["part"]: row["classes"] for row in splits}}]
    else:
        splits, notes = [{"part": part, "rows": len(rows)} for part, rows in parts.items()], []
        panels = [histogram("target", {part: values[rows].astype(np.float64) for part, rows in parts.items()})]
    if shared > 0.01 * len(held):
        notes.append(
            f"{shared:,} of the {len(held):,} held-out rows are copies of rows to learn from: scores are better than they will be on "
            "new rows."
        )
    numbers = [column for column in used if column.is_number][:3]
    panels += [histogram(column.name, {part: _some(column.values[rows]) for part, rows in parts.items()}) for column in numbers]
    return {"facts": [fact.to_json() for fact in facts], "splits": splits, "notes": notes, "panels": panels}


def column_outliers(column: Column) -> int:
    """Numbers far from all others, by some of the rows where there are many."""
    return outliers(_some(column.values)) if column.is_number else 0


def _some(values: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values[:: max(1, -(-len(values) // _LOOKED_AT))].astype(np.float64)
    return found


def _identities(table: Table, values: NDArray[Any]) -> NDArray[np.uint64]:
    """A number for each row; rows with the same values have the same one, and others hardly ever."""
    found = np.zeros(len(values), np.uint64)
    for column in (*(column.values for column in table), values):
        bits = np.ascontiguousarray(column, np.float64) + 0.0  # -0.0 is 0.0
        bits[np.isnan(bits)] = np.nan
        found = (found ^ bits.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(29)
    return found

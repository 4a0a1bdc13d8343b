"""Seeded splits: rows held out for the evaluation, and folds for cross-validation. Classes keep their shares in both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.datasets.table import Rows

Codes = NDArray[np.intp]
"""A class number for each row."""


def hold_out(rows: int, share: float, seed: int, classes: Codes | None = None) -> tuple[Rows, Rows]:
    """Row numbers to train on and row numbers held out, each in rising order.

    With ``classes`` every class with two rows or more has rows on both sides. Raises InvalidData when a side would be empty.
    """
    generator = np.random.default_rng(seed)
    groups = [np.arange(rows)] if classes is None else [np.flatnonzero(classes == code) for code in np.unique(classes)]
    held: list[Rows] = []
    for group in groups:
        wanted = round(len(group) * share)
        count = min(max(wanted, 1), len(group) - 1) if len(group) > 1 else 0
        held.append(generator.permutation(group)[:count])
    kept = np.ones(rows, np.bool_)
    kept[np.concatenate(held).astype(np.intp)] = False
    train, test = np.flatnonzero(kept), np.flatnonzero(~kept)
    if not len(test) or not len(train):
        raise InvalidData(f"{rows} rows are too few to hold any out for the evaluation; give more rows.")
    return train, test


def folds(rows: int, count: int, seed: int, classes: Codes | None = None) -> list[tuple[Rows, Rows]]:
    """``count`` pairs (rows to fit on, rows to check on); every row is checked once.

    Raises InvalidData when there are fewer rows than folds.
    """
    if count < 2 or rows < count:
        raise InvalidData(f"{rows} rows cannot make {count} folds; give more rows or set folds to between 2 and {max(rows, 2)}.")
    generator = np.random.default_rng(seed)
    order = generator.permutation(rows)
    if classes is not None:
        # Dealing the rows out class after class keeps every class's share in every fold.
        order = order[np.argsort(classes[order], kind="stable")]
    fold_of = np.empty(rows, np.intp)
    fold_of[order] = np.arange(rows) % count
    return [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(count)]

"""What the methods look at: every column as a few groups of values, and the target likewise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelyard.datasets.table import Column, Rows
from modelyard.train.problem import Problem, Task

Codes = NDArray[np.intp]
_BINS = 10
_MOST_GROUPS = 50


@dataclass(frozen=True)
class Evidence:
    """Some rows of a problem. Missing values are a group of their own."""

    problem: Problem
    rows: Rows
    columns: tuple[Codes, ...]
    target: Codes

    @classmethod
    def of(cls, problem: Problem, rows: Rows) -> Evidence:
        """Groups are equal shares of the rows for numbers, and the most frequent words."""
        values = problem.values[rows]
        target = values.astype(np.intp) if problem.task is Task.CLASSIFICATION else _binned(values.astype(np.float64))
        return cls(problem, rows, tuple(_grouped(column.take(rows)) for column in problem.features), target)

    @property
    def names(self) -> list[str]:
        return self.problem.features.names


def contingency(a: Codes, b: Codes) -> NDArray[np.float64]:
    """How often each pair of groups comes together."""
    counts = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(counts, (a, b), 1.0)
    return counts


def entropy(shares: NDArray[np.float64]) -> float:
    """In nats, of counts or shares."""
    present = shares[shares > 0] / shares.sum()
    return float(-(present * np.log(present)).sum())


def shared_information(a: Codes, b: Codes) -> float:
    """Mutual information of two groupings, in nats; never negative."""
    counts = contingency(a, b)
    return max(0.0, entropy(counts.sum(axis=1)) + entropy(counts.sum(axis=0)) - entropy(counts.ravel()))


def _grouped(column: Column) -> Codes:
    if column.is_number:
        return _binned(column.values.astype(np.float64))
    codes = column.values.astype(np.intp)
    counts = np.bincount(codes[codes >= 0], minlength=len(column.categories or ()))
    kept = np.argsort(-counts, kind="stable")[:_MOST_GROUPS]
    place = np.full(len(counts) + 1, len(kept), np.intp)  # rarer words together
    place[kept] = np.arange(len(kept))
    place[-1] = len(kept) + 1  # missing
    return _dense(place[codes])


def _binned(values: NDArray[np.float64]) -> Codes:
    present = values[~np.isnan(values)]
    if not len(present):
        return np.zeros(len(values), np.intp)
    edges = np.unique(np.quantile(present, np.linspace(0, 1, _BINS + 1)[1:-1]))
    codes = np.searchsorted(edges, values, side="right").astype(np.intp)
    codes[np.isnan(values)] = len(edges) + 1
    return _dense(codes)


def _dense(codes: Codes) -> Codes:
    return np.unique(codes, return_inverse=True)[1].astype(np.intp)

"""Many usage records added up by minute: arrays, no loop over records."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modelyard.store.segments import CACHED
from modelyard.store.usage import UsageMinute
from modelyard.store.usage_sums import DIMENSIONS, SUMS

MINUTE_NS = 60_000_000_000
_MOST = 1 << 40
"""What one call can add to a sum; more is a mistake of ours and must not overflow the rest."""


def sum_minutes(records: NDArray[np.void]) -> list[UsageMinute]:
    """Sums of records (``store.segments.DTYPE``) that agree in every dimension; the status counts as its class (2, 4, 5)."""
    if not len(records):
        return []
    dimensions = np.stack([_dimension(records, name) for name in DIMENSIONS])
    order, starts = _grouped(dimensions)
    groups = dimensions[:, order[starts]].T
    sums = np.stack([np.add.reduceat(_amount(records, name)[order], starts) for name in SUMS])
    found = []
    for at, group in enumerate(groups):
        place = dict(zip(DIMENSIONS, map(int, group), strict=True))
        amounts = {name: int(sums[index, at]) for index, name in enumerate(SUMS)}
        found.append(UsageMinute(**place, **amounts))
    return found


def _grouped(dimensions: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """An order that brings equal columns together, and where each group begins in it. Most rows are constant and cost nothing."""
    count = dimensions.shape[1]
    varying = [row for row in dimensions if row[0] != row[-1] or (row != row[0]).any()]
    if not varying:
        return np.arange(count), np.zeros(1, np.intp)
    order = np.lexsort(varying)
    changes = np.zeros(count - 1, np.bool_)
    for row in varying:
        ordered = row[order]
        changes |= ordered[1:] != ordered[:-1]
    return order, np.concatenate([np.zeros(1, np.intp), np.flatnonzero(changes) + 1])


def _dimension(records: NDArray[np.void], name: str) -> NDArray[np.int64]:
    if name == "minute":
        return (records["time_ns"] // np.uint64(MINUTE_NS)).astype(np.int64)
    if name == "status":
        return records["status"].astype(np.int64) // 100
    return np.asarray(records[name].astype(np.int64))


def _amount(records: NDArray[np.void], name: str) -> NDArray[np.int64]:
    if name == "calls":
        return np.ones(len(records), np.int64)
    if name == "energy_uj":  # no record knows it; see ``fold``
        return np.zeros(len(records), np.int64)
    if name == "cached_calls":
        return (records["flags"] & CACHED).astype(np.int64)
    if name.startswith("cached_"):
        return np.where(records["flags"] & CACHED, _amount(records, name.removeprefix("cached_")), 0)
    return np.minimum(records[name].astype(np.uint64), np.uint64(_MOST)).astype(np.int64)

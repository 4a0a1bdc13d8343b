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
    groups, place = np.unique(np.stack([_dimension(records, name) for name in DIMENSIONS], axis=1), axis=0, return_inverse=True)
    place = place.reshape(-1)
    sums = np.zeros((len(SUMS), len(groups)), np.int64)
    for row, name in zip(sums, SUMS, strict=True):
        np.add.at(row, place, _amount(records, name))
    found = []
    for at, group in enumerate(groups):
        dimensions = dict(zip(DIMENSIONS, map(int, group), strict=True))
        amounts = {name: int(sums[index, at]) for index, name in enumerate(SUMS)}
        found.append(UsageMinute(**dimensions, **amounts))
    return found


def _dimension(records: NDArray[np.void], name: str) -> NDArray[np.int64]:
    if name == "minute":
        return (records["time_ns"] // np.uint64(MINUTE_NS)).astype(np.int64)
    if name == "status":
        return records["status"].astype(np.int64) // 100
    return np.asarray(records[name].astype(np.int64))


def _amount(records: NDArray[np.void], name: str) -> NDArray[np.int64]:
    if name == "calls":
        return np.ones(len(records), np.int64)
    if name == "cached_calls":
        return (records["flags"] & CACHED).astype(np.int64)
    return np.minimum(records[name].astype(np.uint64), np.uint64(_MOST)).astype(np.int64)

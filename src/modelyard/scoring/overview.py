"""What the answers of a whole file say together: how often each label, and how numbers are spread."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modelyard.core.signature import Signature

_BINS = 20
_SHOWN = 20
"""Labels that are told one by one."""
_MOST_LABELS = 1_000
"""Of an output with more of them nothing is told: they are texts or numbers of their own, and no classes."""

Tables = Callable[[], Iterable[pa.Table]]
"""The answers from the beginning, a shard at a time."""


def overview(tables: Tables, signature: Signature) -> dict[str, Any]:
    """By output, for those with one value a row: ``counts`` of labels and of ``others``, or numbers with their ``mean`` and ``spread``."""
    single = [spec for spec in signature.outputs if all(size == 1 for size in spec.shape[1:])]
    labels = {spec.name: Counter[str]() for spec in single if not spec.datatype.is_float}
    numbers = {spec.name: _Numbers() for spec in single if spec.datatype.is_float}
    for table in tables():
        for name, counter in labels.items():
            if len(counter) <= _MOST_LABELS:
                counter.update({str(entry["values"]): entry["counts"].as_py() for entry in pc.value_counts(table[name])})
        for name, found in numbers.items():
            found.look(_finite(table, name))
    numbers = {name: found for name, found in numbers.items() if found.rows}
    for table in tables() if numbers else ():
        for name, found in numbers.items():
            found.count(_finite(table, name))
    told = {name: _told(counter) for name, counter in labels.items() if len(counter) <= _MOST_LABELS}
    return told | {name: found.told() for name, found in numbers.items()}


class _Numbers:
    """Looked at first, because the bins follow from the ends; then counted."""

    def __init__(self) -> None:
        self.rows, self._sum = 0, 0.0
        self._ends = math.inf, -math.inf
        self._counts = np.zeros(_BINS, np.int64)

    def look(self, values: NDArray[np.float64]) -> None:
        if len(values):
            self.rows += len(values)
            self._sum += float(values.sum(dtype=np.float64))
            self._ends = min(self._ends[0], float(values.min())), max(self._ends[1], float(values.max()))

    def count(self, values: NDArray[np.float64]) -> None:
        low, high = self._ends
        width = (high / 2 - low / 2) or 1.0  # halves: the whole may be too large for a float
        places = ((values / 2 - low / 2) / width * _BINS).astype(np.intp)
        self._counts += np.bincount(np.minimum(places, _BINS - 1), minlength=_BINS)

    def told(self) -> dict[str, Any]:
        return {"mean": self._sum / self.rows, "spread": {"ends": list(self._ends), "counts": self._counts.tolist()}}


def _finite(table: pa.Table, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = table[name].to_numpy().astype(np.float64)
    return values[np.isfinite(values)]


def _told(counter: Counter[str]) -> dict[str, Any]:
    shown = dict(counter.most_common(_SHOWN))
    return {"counts": shown, "others": counter.total() - sum(shown.values())}

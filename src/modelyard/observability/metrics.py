"""Plain counters of one process; ``exposition.py`` merges those of many processes into one Prometheus page.

A worker only adds integers in memory. It exports them with its report every second; whoever is asked for ``/metrics`` merges the
exports of all processes. A process that takes over the slot of a dead one resumes from its last export, so that no counter goes back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

import msgspec

Labels = tuple[str, ...]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bucket bounds for latencies."""


class Family(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One metric of one process in exported form; ``samples`` pairs label values with a number, or with counts per bucket and a sum."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels = ()
    merge: Literal["sum", "max"] = "sum"
    buckets: tuple[float, ...] = ()
    values: list[tuple[Labels, float]] = []
    counts: list[tuple[Labels, list[int], float]] = []


Export = list[Family]


class Counter:
    """A number that only grows, for each combination of label values."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Adds to the series of these label values."""
        values = self._values
        values[labels] = values.get(labels, 0) + amount

    def get(self, labels: Labels = ()) -> float:
        return self._values.get(labels, 0)

    def export(self) -> Family:
        return msgspec.structs.replace(self._family, values=list(self._values.items()))

    def resume(self, family: Family) -> None:
        """Goes on from what a predecessor exported."""
        for labels, value in family.values:
            self.add(tuple(labels), value)


class Gauge(Counter):
    """A number that goes up and down; not resumed by a successor."""

    def set(self, value: float, labels: Labels = ()) -> None:
        self._values[labels] = value

    def resume(self, family: Family) -> None:
        """A predecessor's state means nothing any more."""


class Histogram:
    """Observations counted in buckets, for each combination of label values."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._bounds = family.buckets
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Counts one observation."""
        self.add_counted({bisect_left(self._bounds, value): 1}, value, labels)

    def add_counted(self, buckets: Mapping[int, int], total: float, labels: Labels = ()) -> None:
        """Counts many observations at once: how many fell into each bucket, by its place, and their sum."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        for place, count in buckets.items():
            counts[place] += count
        self._sums[labels] += total

    def export(self) -> Family:
        counts = [(labels, list(counts), self._sums[labels]) for labels, counts in self._counts.items()]
        return msgspec.structs.replace(self._family, counts=counts)

    def resume(self, family: Family) -> None:
        """Goes on from what a predecessor exported, unless its buckets were others."""
        if tuple(family.buckets) != self._bounds:
            return
        for raw, counts, total in family.counts:
            labels = tuple(raw)
            own = self._counts.setdefault(labels, [0] * len(counts))
            self._counts[labels] = [a + b for a, b in zip(own, counts, strict=True)]
            self._sums[labels] = self._sums.get(labels, 0.0) + total


T = TypeVar("T", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one process; used from one thread."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Histogram] = {}

    def counter(self, name: str, text: str, labels: Labels = ()) -> Counter:
        """Declares a counter; its name ends in ``_total``."""
        return self._declare(Counter(Family(name=name, help=text, kind="counter", labels=labels)), name)

    def gauge(self, name: str, text: str, labels: Labels = (), merge: Literal["sum", "max"] = "sum") -> Gauge:
        """Declares a gauge; ``merge`` says how the values of several processes become one."""
        return self._declare(Gauge(Family(name=name, help=text, kind="gauge", labels=labels, merge=merge)), name)

    def histogram(self, name: str, text: str, labels: Labels = (), buckets: tuple[float, ...] = SECONDS) -> Histogram:
        """Declares a histogram."""
        return self._declare(Histogram(Family(name=name, help=text, kind="histogram", labels=labels, buckets=buckets)), name)

    def _declare(self, metric: T, name: str) -> T:
        if name in self._metrics:
            raise ValueError(f"The metric {name} is declared twice.")
        self._metrics[name] = metric
        return metric

    def export(self) -> Export:
        """Everything counted so far, as plain data for a report."""
        return [metric.export() for metric in self._metrics.values()]

    def resume(self, export: Iterable[Family]) -> None:
        """Goes on counting from a predecessor's last export; metrics it had and this process has not are dropped."""
        for family in export:
            metric = self._metrics.get(family.name)
            if metric is not None:
                metric.resume(family)

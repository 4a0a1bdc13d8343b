"""The Prometheus page: exported metrics of several processes merged into one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from modelyard.observability.aliases import aliases
from modelyard.observability.metrics import Export, Family, Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Merged(Collector):
    def __init__(self, exports: Iterable[Export]) -> None:
        self._families: dict[str, list[Family]] = {}
        for export in exports:
            for family in (*export, *aliases(export)):
                self._families.setdefault(family.name, []).append(family)

    def collect(self) -> Iterator[Metric]:
        for families in self._families.values():
            yield _merge_counts(families) if families[0].kind == "histogram" else _merge_values(families)


def _merge_values(families: list[Family]) -> Metric:
    first = families[0]
    merged: dict[Labels, float] = {}
    for family in families:
        for raw, value in family.values:
            labels = tuple(raw)
            if labels not in merged:
                merged[labels] = value
            else:
                merged[labels] = max(merged[labels], value) if first.merge == "max" else merged[labels] + value
    kind = CounterMetricFamily if first.kind == "counter" else GaugeMetricFamily
    metric = kind(first.name, first.help, labels=first.labels)
    for labels, value in merged.items():
        metric.add_metric(labels, value)
    return metric


def _merge_counts(families: list[Family]) -> Metric:
    first = families[0]
    counts: dict[Labels, list[int]] = {}
    sums: dict[Labels, float] = {}
    for family in families:
        if family.buckets != first.buckets:
            continue
        for raw, added, total in family.counts:
            labels = tuple(raw)
            counts[labels] = [a + b for a, b in zip(counts.get(labels, [0] * len(added)), added, strict=True)]
            sums[labels] = sums.get(labels, 0.0) + total
    metric = HistogramMetricFamily(first.name, first.help, labels=first.labels)
    bounds = [*(str(bound) for bound in first.buckets), "+Inf"]
    for labels, added in counts.items():
        running, buckets = 0, []
        for bound, count in zip(bounds, added, strict=True):
            running += count
            buckets.append((bound, running))
        metric.add_metric(labels, buckets, sums[labels])
    return metric


def render(exports: Iterable[Export], extra: Mapping[str, tuple[str, float]] | None = None) -> bytes:
    """The Prometheus text page of several processes' exports; ``extra`` adds plain gauges by name with their help and value."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(exports))
    if extra:
        registry.register(
            _Merged([[Family(name=name, help=text, kind="gauge", values=[((), value)]) for name, (text, value) in extra.items()]])
        )
    return generate_latest(registry)

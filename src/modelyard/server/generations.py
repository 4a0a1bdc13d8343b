"""What a worker's versions counted of generations, as metrics of deployments."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.observability.metrics import Histogram, Labels, Metrics
from modelyard.serving.generating import BOUNDS_S, GenerationStatistics, Spread
from modelyard.serving.router import Lane
from modelyard.serving.statistics import CallStatistics

Told = tuple[int, ...]


class _Followed:
    """One version's counts, and how far the metrics are with them."""

    __slots__ = ("counts", "labels", "spreads", "told")

    def __init__(self, labels: Labels, counts: GenerationStatistics) -> None:
        self.labels, self.counts = labels, counts
        self.told: Told = (0, 0, 0)
        self.spreads = (Spread(), Spread(), Spread())


class GenerationMetrics:
    """Belongs to the event loop. Follows a version that is routed to no longer until its last generation ended."""

    def __init__(self, metrics: Metrics) -> None:
        where = ("deployment", "version")
        self._running = metrics.gauge("modelyard_generations_running", "Generations that give tokens.", where)
        self._waiting = metrics.gauge("modelyard_generations_waiting", "Generations that have given nothing yet.", where)
        self._tokens = (
            metrics.counter("modelyard_prompt_tokens_total", "Tokens of prompts.", where),
            metrics.counter("modelyard_cached_tokens_total", "Tokens of prompts that were computed before.", where),
            metrics.counter("modelyard_generated_tokens_total", "Tokens generated.", where),
        )
        self._spreads = (
            metrics.histogram("modelyard_first_token_seconds", "Time from a generation's arrival to its first token.", where, BOUNDS_S),
            metrics.histogram("modelyard_between_tokens_seconds", "Time from one token to the next.", where, BOUNDS_S),
            metrics.histogram("modelyard_generation_seconds", "Time from a generation's arrival to its end.", where, BOUNDS_S),
        )
        self._followed: dict[int, _Followed] = {}

    def take(self, lanes: Iterable[tuple[int, str, Lane, CallStatistics]]) -> None:
        """Adds what was counted since the last time."""
        routed = set()
        for _workspace, deployment, lane, statistics in lanes:
            counts = statistics.generation
            if counts is not None:
                routed.add(id(counts))
                if id(counts) not in self._followed:
                    labels: Labels = (deployment, f"{lane.version.model}@{lane.version.number}")
                    self._followed[id(counts)] = _Followed(labels, counts)
        depths: dict[Labels, tuple[int, int]] = {}
        for key, followed in list(self._followed.items()):
            running, waiting = depths.get(followed.labels, (0, 0))
            depths[followed.labels] = running + followed.counts.running, waiting + followed.counts.waiting
            self._add(followed)
            if key not in routed and not followed.counts.running + followed.counts.waiting:
                del self._followed[key]
        for labels, (running, waiting) in depths.items():
            self._running.set(running, labels)
            self._waiting.set(waiting, labels)

    def _add(self, followed: _Followed) -> None:
        counts, labels = followed.counts, followed.labels
        now = counts.tokens_in, counts.tokens_cached, counts.tokens_out
        for counter, before, after in zip(self._tokens, followed.told, now, strict=True):
            counter.add(labels, after - before)
        followed.told = now
        for histogram, told, spread in zip(self._spreads, followed.spreads, (counts.first, counts.between, counts.whole), strict=True):
            _add_spread(histogram, told, spread, labels)


def _add_spread(histogram: Histogram, told: Spread, spread: Spread, labels: Labels) -> None:
    grown = {place: after - before for place, (before, after) in enumerate(zip(told.counts, spread.counts, strict=True))}
    histogram.add_counted(grown, spread.total_s - told.total_s, labels)
    told.counts, told.count, told.total_s = list(spread.counts), spread.count, spread.total_s

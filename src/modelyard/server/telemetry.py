"""What a worker notes of each answered request, and makes of it behind the calls: counters and the access log."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from modelyard.observability.access_log import Access, AccessLog
from modelyard.observability.exports import read_export, write_export
from modelyard.observability.metrics import SECONDS, Export, Metrics
from modelyard.protocols.call import Call
from modelyard.server.generations import GenerationMetrics
from modelyard.server.stages import EVERY, STAGES
from modelyard.serving.router import Lane
from modelyard.serving.statistics import CallStatistics
from modelyard.serving.tallies import Later
from modelyard.store.scribe import Behind, at_once

logger = logging.getLogger(__name__)
FINE: Final = (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Buckets of stages, which are shorter than whole requests."""
PIECE_SECONDS: Final = 0.02
"""How long notes gather: long enough to be worked off together, short enough not to hold up calls when they are."""
_NAMELESS: Final = frozenset({401, 403, 404, 405})
"""Answers to names that may be made up: they would make endless label values."""


class SpanSink(Protocol):
    """Where spans are made."""

    def note(self, entries: list[Access]) -> None:
        """Takes in answered calls, before the log makes them readable."""

    def close(self) -> None:
        """Sends what is left."""


class Telemetry:
    """Belongs to the event loop. ``note`` is on every call's path; what it notes is worked off in small pieces soon after.

    ``later`` runs something after so many seconds, as a loop's ``call_later`` does; files are written ``behind`` it.
    """

    def __init__(self, export_path: Path, access_log: AccessLog | None, later: Later, behind: Behind = at_once) -> None:
        self._export_path = export_path
        self._behind = behind
        self._lost = 0
        """Entries that were given up because the disk did not keep pace."""
        self._log = access_log
        self._later = later
        self.spans: SpanSink | None = None
        """Makes spans of answered calls, where that is asked for."""
        self.connections: Callable[[], int] = int
        """How many connections are open."""
        self.unrecorded: Callable[[], int] = int
        """How many calls were answered without a usage record."""
        self.statistics: Callable[[], Iterable[tuple[int, str, Lane, CallStatistics]]] = tuple
        """What each version that is routed to has counted."""
        self._unrecorded_told = 0
        self._waiting: list[Access] = []
        metrics = self._metrics = Metrics()
        where = ("deployment", "protocol")
        self._requests = metrics.counter("modelyard_requests_total", "Requests answered.", (*where, "status"))
        self._seconds = metrics.histogram("modelyard_request_seconds", "Time from a whole request to its answer.", where)
        self._rows = metrics.counter("modelyard_rows_total", "Rows predicted.", where)
        self._compute = metrics.counter("modelyard_compute_seconds_total", "Time that models computed.", where)
        self._queue = metrics.counter("modelyard_queue_seconds_total", "Time that calls waited for their batch.", where)
        self._bytes_in = metrics.counter("modelyard_request_bytes_total", "Bytes of requests' bodies.", where)
        self._bytes_out = metrics.counter("modelyard_response_bytes_total", "Bytes of answers' bodies.", where)
        stages = f"Time of predictions by stage, measured on one call of {EVERY}."
        self._stages = metrics.histogram("modelyard_stage_seconds", stages, ("deployment", "stage"), FINE)
        self._unrecorded = metrics.counter("modelyard_calls_unrecorded_total", "Calls answered without a usage record: the disk was full.")
        self._open = metrics.gauge("modelyard_connections", "Open connections.")
        self._generations = GenerationMetrics(metrics)
        metrics.resume(read_export(export_path))

    def note(self, call: Call, status: int, size: int) -> None:
        """Notes an answered call; the form that ``Handler`` asks for."""
        exchange = call.exchange
        cost = call.cost
        waiting = self._waiting
        if not waiting:
            self._later(PIECE_SECONDS, self.flush)
        context = call.context
        trace = span = parent = ""
        sampled = False
        if context is not None:
            trace, span, parent, sampled = context.trace, context.span, context.parent, context.sampled
        entry = Access(
            time.time_ns(),
            exchange.method,
            exchange.path,
            status,
            (time.monotonic_ns() - exchange.received_ns) // 1000,
            exchange.peer,
            call.request_id,
            call.grant.public_id,
            call.protocol.name,
            call.params.get("name", ""),
            len(exchange.body),
            size,
            cost.rows,
            cost.queue_us,
            cost.compute_us,
            trace,
            span,
            parent,
            sampled,
        )
        waiting.append(entry)

    def flush(self) -> None:
        """Counts and logs what was noted since the last time."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._count(waiting)
            if self.spans is not None:
                self.spans.note(waiting)
            if self._log is not None:
                self._lost = 0 if self._behind(partial(self._log.write, waiting, self._lost)) else self._lost + len(waiting)

    def observe(self, deployment: str, seconds: dict[str, float]) -> None:
        """Notes the stages of a measured prediction; the form that ``Handler`` asks for."""
        for stage in STAGES:
            self._stages.observe(seconds[stage], (deployment, stage))

    def export(self) -> None:
        """Writes the counters for others to read. A full disk delays that, no more."""
        self._open.set(self.connections())
        self._generations.take(self.statistics())
        unrecorded = self.unrecorded()
        self._unrecorded.add(amount=unrecorded - self._unrecorded_told)
        self._unrecorded_told = unrecorded
        self._behind(partial(self._write, self._metrics.export()))

    def close(self) -> None:
        """Hands on what was noted last."""
        self.flush()
        self.export()
        if self.spans is not None:
            self.spans.close()

    def _write(self, export: Export) -> None:
        try:
            write_export(self._export_path, export)
        except OSError as error:
            logger.warning("The counters cannot be written: %s", error.strerror)

    def _count(self, entries: list[Access]) -> None:
        groups: defaultdict[tuple[str, str, int], list[Access]] = defaultdict(list)
        for entry in entries:
            groups[entry.deployment, entry.protocol, entry.status].append(entry)
        for (deployment, protocol, status), group in groups.items():
            labels = ("" if status in _NAMELESS else deployment, protocol)
            self._requests.add((*labels, str(status)), len(group))
            durations = [entry.duration_us for entry in group]
            self._seconds.add_counted(Tally([bisect_left(_BOUNDS_US, duration) for duration in durations]), sum(durations) / 1e6, labels)
            for counter, amount in (
                (self._rows, sum([entry.rows for entry in group])),
                (self._compute, sum([entry.compute_us for entry in group]) / 1e6),
                (self._queue, sum([entry.queue_us for entry in group]) / 1e6),
                (self._bytes_in, sum([entry.bytes_in for entry in group])),
                (self._bytes_out, sum([entry.bytes_out for entry in group])),
            ):
                counter.add(labels, amount)


_BOUNDS_US: Final = [bound * 1e6 for bound in SECONDS]

"""Spans for OpenTelemetry, made of what the access log notes of answered calls: behind the calls, and only where an endpoint is set.

A call that its caller has put into a trace is sampled as the caller says; of the others a share is, each in a trace of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, set_span_in_context

from modelyard.observability.access_log import Access

SECONDS = 3.0
"""An endpoint that does not answer may delay the end of a worker by that much, and calls not at all."""
_MICROSECOND_NS = 1000


class _GivenIds(RandomIdGenerator):
    """Gives a call's span the id that the caller was told."""

    given = 0

    def generate_span_id(self) -> int:
        given, self.given = self.given, 0
        return given or super().generate_span_id()


class Spans:
    """Sends spans of answered calls to an OTLP endpoint over HTTP, from a thread of its own. ``share`` is from 0 to 1."""

    def __init__(self, endpoint: str, share: float, worker: int, chance: Callable[[], float] = random.random) -> None:
        self._share, self._chance, self._ids = share, chance, _GivenIds()
        resource = Resource.create({"service.name": "modelyard", "service.instance.id": f"worker-{worker}"})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=SECONDS)))
        self._tracer = self._provider.get_tracer("modelyard")

    def note(self, entries: Iterable[Access]) -> None:
        """Takes in calls whose time is not made readable yet."""
        for entry in entries:
            if entry.sampled if entry.trace else self._chance() < self._share:
                self._record(entry)

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()

    def _record(self, entry: Access) -> None:
        end = int(entry.time)
        self._ids.given = int(entry.span, 16) if entry.span else 0
        span = self._tracer.start_span(
            f"{entry.protocol} {entry.deployment}".rstrip(),
            context=_parent(entry),
            kind=SpanKind.SERVER,
            start_time=end - entry.duration_us * _MICROSECOND_NS,
            attributes={
                "http.request.method": entry.method,
                "url.path": entry.path,
                "http.response.status_code": entry.status,
                "http.request.body.size": entry.bytes_in,
                "http.response.body.size": entry.bytes_out,
                "client.address": entry.peer,
                "modelyard.request_id": entry.request_id,
                "modelyard.deployment": entry.deployment,
                "modelyard.key": entry.key,
                "modelyard.rows": entry.rows,
                "modelyard.queue_us": entry.queue_us,
                "modelyard.compute_us": entry.compute_us,
            },
        )
        if entry.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)


def _parent(entry: Access) -> Context:
    if not entry.trace:
        return Context()
    parent = SpanContext(int(entry.trace, 16), int(entry.parent, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())

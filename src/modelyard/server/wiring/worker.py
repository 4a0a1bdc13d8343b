"""What a worker is made of. Nothing here may import a database library or a web framework: a test measures it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol as Seam

from modelyard.core.clock import SystemClock
from modelyard.core.errors import InvalidRequest
from modelyard.core.plugins import load_string
from modelyard.gate.bound import BoundGate
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.counters import Counters
from modelyard.gate.journal import Journal
from modelyard.gate.limiter import Limiter
from modelyard.gate.refusals import Refusals
from modelyard.observability.access_log import AccessLog
from modelyard.observability.exports import export_path
from modelyard.protocols.anthropic.routes import PROTOCOL as ANTHROPIC
from modelyard.protocols.feedback.routes import create_protocol as feedback_protocol
from modelyard.protocols.mlflow.routes import PROTOCOL as MLFLOW
from modelyard.protocols.open_inference_rest.routes import PROTOCOL as OPEN_INFERENCE
from modelyard.protocols.openai.routes import PROTOCOL as OPENAI
from modelyard.protocols.openai.routes import batch_protocol
from modelyard.protocols.predictions.routes import create_protocol as predictions_protocol
from modelyard.protocols.records.routes import PROTOCOL as RECORDS
from modelyard.protocols.routing import Protocol
from modelyard.protocols.tensorflow_rest.routes import PROTOCOL as TENSORFLOW
from modelyard.protocols.text_embeddings.routes import PROTOCOL as TEXT_EMBEDDINGS
from modelyard.registry.artifacts import ArtifactCache
from modelyard.server.balance import Balancer, LoadBoard
from modelyard.server.certificates import Certificates, shown_by
from modelyard.server.channel import Handover
from modelyard.server.entrance import Entrance, entrance
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig
from modelyard.server.handler import Handler
from modelyard.server.health import health_protocol
from modelyard.server.listen import Acceptor, inherit_listener
from modelyard.server.settings import Settings, cores
from modelyard.server.telemetry import SpanSink, Telemetry
from modelyard.server.wiring.contracts import contract_gate, contract_protocol
from modelyard.serving.batches.files import BatchFiles
from modelyard.serving.batching import BatchOptions
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.feedback import FeedbackFile
from modelyard.serving.loading import VersionLoader
from modelyard.serving.policies import PolicyComposer, PolicyTools
from modelyard.serving.prediction_files import PredictionFiles
from modelyard.serving.reconciler import Reconciler, ReconcilerOptions
from modelyard.serving.replicas.places import DemandBoard, DirectoryFile
from modelyard.serving.replicas.remotes import Remotes
from modelyard.serving.tallies import Tallies, tallies_path
from modelyard.serving.webhooks import WebhookPolicy
from modelyard.store.blobs import Blobs
from modelyard.store.home import Home
from modelyard.store.line_files import LineFile
from modelyard.store.scribe import Scribe
from modelyard.store.snapshot import SnapshotReader

DISK_THREADS = 4
GRPC = "modelyard.server.wiring.grpc:build"
"""Imported only where gRPC is on."""
SPANS = "modelyard.observability.spans:Spans"
"""Imported only where spans are asked for."""


class Listener(Seam):
    """A front that opens its own sockets."""

    async def start(self) -> int: ...
    async def drain(self, timeout_s: float) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker's parts, ready to be run by its entry point on the event loop they were made on."""

    front: Http1Front
    acceptors: tuple[Acceptor, ...]
    reconciler: Reconciler
    telemetry: Telemetry
    journal: Journal
    limiter: Limiter
    scribe: Scribe
    balancer: Balancer
    grpc: Listener | None = None
    """None where gRPC is off."""
    certificates: Certificates | None = None
    """Of the HTTP listener; None where it speaks plain text."""


def build(settings: Settings, handover: Handover) -> Worker:
    """Puts a worker together. Call it on a running event loop.

    Raises Unavailable when usage cannot be recorded, InvalidRequest for a blob URL that cannot be used.
    """
    home, clock, slot = Home(settings.home), SystemClock(), handover.slot
    holder = SnapshotHolder()
    plane = DataPlane()
    limiter = Limiter(Counters(home.limits), clock)
    journal = Journal(home.journal, bytes.fromhex(handover.boot), slot, clock=clock, serves=settings.journal_full == "serve")
    cache = ArtifactCache(home.artifacts, Blobs.open(settings.blobs(), home.temporary))
    loop, scribe = asyncio.get_running_loop(), Scribe()
    later = loop.call_later
    tools = PolicyTools(tallies=Tallies(tallies_path(home.run, slot), later, scribe.behind), later=later, append=journal.append)
    remotes = Remotes(DirectoryFile(home.run), DemandBoard(home.run, slot), plane.starting)
    options = replace(reconciling(settings, home, slot, PolicyComposer(tools)), behind=scribe.behind)
    reconciler = Reconciler(
        SnapshotReader(home.snapshot), holder, plane, VersionLoader(cache, settings.model_threads), options, remotes=remotes
    )
    log = AccessLog(home.logs / f"access-{slot}.log") if settings.access_log else None
    telemetry = Telemetry(export_path(home.run, slot), log, later, scribe.behind)
    if settings.span_endpoint:
        telemetry.spans = _spans(settings, slot)
    gate = Gate(holder, journal, clock, limiter)
    bound = contract_gate(settings, gate, holder)
    handler = Handler(
        protocols(settings, home, plane, holder, slot=slot, bound=bound),
        bound or gate,
        plane,
        max_body_bytes=settings.max_body_bytes,
        finished=telemetry.note,
        later=later,
        observe=telemetry.observe,
        refusals=Refusals(LineFile(home.refusals, str(slot)), clock, partial(_from_any_thread, loop), scribe.behind),
    )
    front, way_in = Http1Front(handler, front_config(settings)), entrance(settings, "inference")
    front.wants_body = handler.wants_body
    front.proxies = way_in.proxies or None
    front.shown_by = shown_by if way_in.asks_for_certificates else None
    telemetry.connections = lambda: front.connections
    telemetry.statistics = plane.statistics
    telemetry.unrecorded = lambda: journal.unrecorded
    board = LoadBoard(home.run / "connections", settings.worker_count)
    grpc: Listener | None = load_string(GRPC)(settings, handover.grpc_address, handler) if handover.grpc_address else None
    return Worker(
        front=front,
        acceptors=_acceptors(front, handover, board, way_in),
        reconciler=reconciler,
        telemetry=telemetry,
        journal=journal,
        limiter=limiter,
        scribe=scribe,
        balancer=Balancer(front, board, slot),
        grpc=grpc,
        certificates=way_in.certificates,
    )


def _acceptors(front: Http1Front, handover: Handover, board: LoadBoard, way_in: Entrance) -> tuple[Acceptor, ...]:
    """Of the sockets that were handed over; the front closes them."""
    found = [Acceptor(front, inherit_listener(handover.descriptor), board, handover.slot, way_in)]
    if handover.private >= 0:
        found.append(Acceptor(front, inherit_listener(handover.private), board, handover.slot))
    for acceptor in found:
        front.accept_from(acceptor)
    return tuple(found)


def _from_any_thread(loop: asyncio.AbstractEventLoop, seconds: float, step: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(lambda: loop.call_later(seconds, step))


def _spans(settings: Settings, slot: int) -> SpanSink:
    try:
        spans: SpanSink = load_string(SPANS)(settings.span_endpoint, settings.span_share, slot)
    except ImportError as error:
        raise InvalidRequest(f"Spans need OpenTelemetry ({error.name}): pip install 'modelyard[otel]'") from error
    return spans


def protocols(
    settings: Settings, home: Home, plane: DataPlane, holder: SnapshotHolder, *, slot: int, bound: BoundGate | None = None
) -> tuple[Protocol, ...]:
    """Every protocol of a worker's HTTP listener; behind the ``bound`` gate of a container contract, that contract's alone."""

    def ready() -> str:
        if not holder.current.number:
            return "This worker has no snapshot yet; the controller writes one when it starts."
        return "" if plane.accepting else "This worker loads its versions, or ends."

    if bound is not None:
        return (contract_protocol(settings, home, bound), health_protocol(ready))
    threads = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="disk")
    policy = WebhookPolicy(allow_loopback=settings.webhook_local)
    feedback = feedback_protocol(FeedbackFile(home.feedback, slot).append, SystemClock(), threads)
    predictions = predictions_protocol(PredictionFiles(home.predictions), SystemClock(), policy, threads)
    batches = batch_protocol(BatchFiles(home.batches), SystemClock(), settings.batch_storage_bytes, threads)
    texts = (OPENAI, ANTHROPIC, TEXT_EMBEDDINGS)
    return (OPEN_INFERENCE, TENSORFLOW, RECORDS, MLFLOW, *texts, batches, predictions, feedback, health_protocol(ready))


def reconciling(settings: Settings, home: Home, slot: int, composer: PolicyComposer) -> ReconcilerOptions:
    """How a worker computes: of each version, as many runs at once as its share of the cores has room for.

    One thread more, so that a version with long runs leaves others a way past it.
    """
    share = max(1, cores() // settings.worker_count // settings.model_threads)
    batch = BatchOptions(concurrent=share)
    return ReconcilerOptions(
        slot=slot,
        reports=home.run,
        compute_threads=share + 1,
        batch=batch,
        memory_bytes=settings.model_memory_bytes,
        composer=composer,
    )


def front_config(settings: Settings) -> FrontConfig:
    """The front's limits."""
    return FrontConfig(
        max_head_bytes=settings.max_head_bytes,
        max_body_bytes=settings.max_body_bytes,
        max_connections=settings.max_connections,
        head_timeout_s=settings.head_timeout_seconds,
        body_timeout_s=settings.body_timeout_seconds,
        idle_timeout_s=settings.idle_timeout_seconds,
        write_timeout_s=settings.write_timeout_seconds,
        answer_timeout_s=settings.request_timeout_seconds,
    )

"""What a controller is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelyard.control.resuming import forget_old
from modelyard.control.services import Services
from modelyard.engines.cluster import Cluster
from modelyard.engines.local import LocalEngine
from modelyard.gate.authenticate import Authenticator
from modelyard.gate.counters import Counters
from modelyard.gate.limits import LimitService, PriceService
from modelyard.gate.refusals import Refusals
from modelyard.gate.shares import ShareService
from modelyard.gate.supply import Supplier
from modelyard.identity.certificates import CertificateService
from modelyard.identity.members import MemberService
from modelyard.identity.oidc import OpenIdService
from modelyard.identity.people import PeopleService
from modelyard.identity.provider_http import provider_http
from modelyard.identity.workspaces import WorkspaceService
from modelyard.jobs.dispatch import DispatchOptions
from modelyard.jobs.kinds import JobKind
from modelyard.jobs.policy import Aging, Policy
from modelyard.jobs.pools import PoolService
from modelyard.jobs.queue import JobQueue
from modelyard.jobs.scheduler import JobScheduler, SchedulerOptions
from modelyard.ledger.audit import AuditLog
from modelyard.ledger.fold import Folder
from modelyard.ledger.refusals import RefusalIntake
from modelyard.ledger.trace import Tracer
from modelyard.observability.energy import EnergyMeter
from modelyard.registry.artifacts import ArtifactCache
from modelyard.registry.service import Registry
from modelyard.registry.validate import ProbeLimits, Prober, Starting
from modelyard.runtimes.environments import Environments
from modelyard.server.channel import Handover
from modelyard.server.overview import Overview
from modelyard.server.resources import ResourceMonitor
from modelyard.server.settings import Settings, cores
from modelyard.server.wiring.batches import BatchJobs
from modelyard.server.wiring.children import JOB, JOB_ENVIRONMENT, PROBE, PROBE_MODULE, interpreter_of, passed_on
from modelyard.server.wiring.foundation import Foundation
from modelyard.server.wiring.hosting import model_host
from modelyard.server.wiring.imports import ImportJobs
from modelyard.server.wiring.kinds import TrainJobs
from modelyard.server.wiring.optimizing import OptimizeJobs
from modelyard.server.wiring.scoring import ScoreJobs
from modelyard.server.wiring.secrets import audit_seed, home_secret, sealer, webhook_secret
from modelyard.server.wiring.tuning import TuneJobs
from modelyard.serving.batches.files import BatchFiles
from modelyard.serving.batches.intake import BatchIntake
from modelyard.serving.delegation import Delegation
from modelyard.serving.deployments import DeploymentService
from modelyard.serving.feedback_intake import FeedbackIntake
from modelyard.serving.hosting import ModelHost
from modelyard.serving.prediction_caller import LoopbackCaller
from modelyard.serving.prediction_files import PredictionFiles
from modelyard.serving.predictions import PredictionRunner, RunnerOptions
from modelyard.serving.propagation import Propagation
from modelyard.serving.reports import read_reports
from modelyard.serving.rollout import RolloutService
from modelyard.serving.webhook_sender import sender
from modelyard.serving.webhooks import WebhookPolicy
from modelyard.store.blobs import Blobs
from modelyard.store.home import Home
from modelyard.store.line_files import LineFile, LineFolder
from modelyard.store.snapshot import SnapshotReader

ENVIRONMENT_SECONDS = 30 * 86400.0
"""How long an environment that a model brought stays after its last use: building it again takes minutes."""
CACHE_SECONDS = 3600.0
"""How long an artifact stays laid out after its last use."""


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A controller's parts, ready to be run by its entry point."""

    foundation: Foundation
    services: Services
    scheduler: JobScheduler
    predictions: PredictionRunner
    batches: BatchIntake
    propagation: Propagation
    ledger: Folder
    supplier: Supplier
    feedback: FeedbackIntake
    refusals: RefusalIntake
    host: ModelHost | None
    """Loads and unloads models of a container contract; None where there is none."""
    upkeep: Callable[[], object]
    """Tidies what may go: artifacts laid out for versions that nobody serves any more."""


def build(foundation: Foundation, handover: Handover, environment: Mapping[str, str]) -> Controller:
    """Puts a controller together on its foundation."""
    settings, home, store, blobs, clock = (foundation.settings, foundation.home, foundation.store, foundation.blobs, foundation.clock)
    registry = Registry(store, blobs, _prober(settings, home, environment), clock)
    propagation = Propagation(store, foundation.publisher, lambda: read_reports(home.run))
    deployments = DeploymentService(store, lambda: read_reports(home.run))
    kinds = _kinds(foundation, registry, deployments)
    home.private_url_file.write_text(handover.private_url)
    scheduler = _scheduler(foundation, kinds, environment)
    resources = ResourceMonitor(store, home, clock)
    overview = Overview(store, home, handover, resources, clock)
    feedback = FeedbackIntake(store, LineFolder(home.feedback), Tracer(store, home.journal))
    services = Services(
        home=home,
        store=store,
        blobs=blobs,
        registry=registry,
        keys=foundation.keys,
        certificates=CertificateService(store, clock),
        workspaces=WorkspaceService(store, clock),
        members=MemberService(store, clock),
        people=PeopleService(store, clock),
        openid=OpenIdService(store, clock, sealer(home.root, "vault"), provider_http()),
        audit=AuditLog(store, audit_seed(home.root), home.audit_heads, trust=settings.audit_trust.replace(",", " ").split()),
        refusals=Refusals(LineFile(home.refusals, "management"), clock, lambda _seconds, _write: None),  # written when they are taken
        limits=LimitService(store, clock),
        prices=PriceService(store, clock),
        shares=ShareService(store),
        jobs=JobQueue(store, home, kinds, clock, scheduler.wake, refuses=scheduler.refuses),
        pools=PoolService(store, settings.job_capacity, scheduler.wake),
        deployments=deployments,
        rollouts=RolloutService(store, deployments, registry, home.run, clock),
        sealer=sealer(home.root),
        authenticate=Authenticator(foundation.keys, clock).authenticate,
        clock=clock,
        status=overview.status,
        resources=resources.read,
        propagate=propagation.wait,
        ready=overview.controller_ready,
        metrics=overview.metrics,
        inference_url=handover.inference_url,
        import_unconfined=settings.import_unconfined,
        max_upload_bytes=settings.max_upload_bytes,
        garbage_age_seconds=settings.upload_retention_seconds,
    )
    return Controller(
        foundation=foundation,
        services=services,
        scheduler=scheduler,
        predictions=_predictions(foundation, handover),
        batches=BatchIntake(BatchFiles(home.batches), services.jobs, store, clock, retention_seconds=settings.batch_retention_seconds),
        propagation=propagation,
        supplier=Supplier(store, Counters(home.limits), foundation.node, clock),
        ledger=_ledger(foundation),
        feedback=feedback,
        refusals=RefusalIntake(store, LineFolder(home.refusals), clock, foundation.node),
        host=model_host(settings, home, blobs, (registry, services.jobs, deployments, propagation)),
        upkeep=partial(_upkeep, foundation, feedback),
    )


def _kinds(foundation: Foundation, registry: Registry, deployments: DeploymentService) -> dict[str, JobKind]:
    settings, home, store, blobs = foundation.settings, foundation.home, foundation.store, foundation.blobs
    optimizing = OptimizeJobs(registry, blobs, store)
    cluster = Cluster(address=settings.ray_address, wait_seconds=settings.ray_wait_seconds)
    return {
        "train": TrainJobs(store, registry, deployments, cluster).kind(),
        "import": ImportJobs(registry, blobs, unconfined=settings.import_unconfined).kind(),
        "optimize": optimizing.kind(),
        "tune": TuneJobs(optimizing, cores()).kind(),
        "predict": ScoreJobs(store, registry, blobs, cluster).kind(),
        "batch": BatchJobs(BatchFiles(home.batches), settings.batch_retention_seconds, settings.request_timeout_seconds + 10).kind(),
    }


def _ledger(foundation: Foundation) -> Folder:
    settings = foundation.settings
    return Folder(
        foundation.store,
        foundation.home.journal,
        foundation.clock,
        retention_seconds=settings.usage_retention_seconds,
        minute_retention_seconds=settings.usage_minute_retention_seconds,
        energy=EnergyMeter().per_compute_us,
    )


def _upkeep(foundation: Foundation, feedback: FeedbackIntake) -> None:
    _prune(foundation.home, foundation.blobs)
    forget_old(foundation.home.temporary, foundation.settings.upload_retention_seconds)
    feedback.expire(foundation.clock.time_ns())


def _prober(settings: Settings, home: Home, environment: Mapping[str, str]) -> Prober:
    limits = ProbeLimits(memory_bytes=settings.probe_memory_bytes, seconds=settings.probe_seconds)
    return Prober(PROBE, limits, starting=_starting(Environments(home.environments, environment)))


def _starting(environments: Environments) -> Starting:
    def starting(folder: Path, format_name: str) -> tuple[Sequence[str], Mapping[str, str]]:
        found = interpreter_of(environments, folder, format_name)
        return found.command(PROBE_MODULE), found.environment

    return starting


def _prune(home: Home, blobs: Blobs) -> int:
    Environments(home.environments, {}).prune(ENVIRONMENT_SECONDS)
    with closing(SnapshotReader(home.snapshot)) as snapshots:
        served = {version.artifact.digest for version in snapshots.load().versions.values()}
    return ArtifactCache(home.artifacts, blobs).prune(served, CACHE_SECONDS)


def _scheduler(foundation: Foundation, kinds: Mapping[str, JobKind], environment: Mapping[str, str]) -> JobScheduler:
    return JobScheduler(
        store=foundation.store,
        home=foundation.home,
        engine=LocalEngine(JOB_ENVIRONMENT | passed_on(environment)),
        kinds=kinds,
        fetch=foundation.blobs.fetch,
        options=_job_options(foundation.settings),
        clock=foundation.clock,
    )


def _job_options(settings: Settings) -> SchedulerOptions:
    return SchedulerOptions(
        command=JOB,
        dispatch=DispatchOptions(
            jobs=settings.job_count,
            capacity=settings.job_capacity,
            policy=Policy(settings.job_policy),
            aging=Aging(settings.job_aging, settings.job_priority_seconds),
        ),
        devices=settings.job_devices,
        memory_bytes=settings.job_memory,
        wall_seconds=settings.job_wall_seconds,
        attempts=settings.job_attempts,
        grace_seconds=settings.job_grace_seconds,
    )


def _predictions(foundation: Foundation, handover: Handover) -> PredictionRunner:
    settings = foundation.settings
    delegation = Delegation(home_secret(foundation.home.root, "delegation"))
    return PredictionRunner(
        PredictionFiles(foundation.home.predictions),
        foundation.store,
        LoopbackCaller(handover.private_url, delegation.headers, settings.request_timeout_seconds + 10),
        sender(WebhookPolicy(allow_loopback=settings.webhook_local)),
        secret=webhook_secret(settings),
        clock=foundation.clock,
        options=RunnerOptions(retention_seconds=settings.prediction_retention_seconds),
    )

"""The management API's services on a real SQLite store, in this process."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from modelyard.control.services import Services
from modelyard.core.clock import SystemClock
from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import InvalidRequest
from modelyard.core.resources import Resources
from modelyard.gate.authenticate import Authenticator
from modelyard.gate.limits import LimitService, PriceService
from modelyard.gate.refusals import Refusals
from modelyard.gate.shares import ShareService
from modelyard.identity.certificates import CertificateService
from modelyard.identity.first import bootstrap
from modelyard.identity.keys import KeyService
from modelyard.identity.members import MemberService
from modelyard.identity.oidc import OpenIdService
from modelyard.identity.people import PeopleService
from modelyard.identity.provider_http import provider_http
from modelyard.identity.workspaces import WorkspaceService
from modelyard.jobs.kinds import JobKind
from modelyard.jobs.pools import PoolService
from modelyard.jobs.queue import JobQueue
from modelyard.ledger.audit import AuditLog
from modelyard.ledger.refusals import RefusalIntake
from modelyard.registry.service import Registry
from modelyard.registry.validate import Prober
from modelyard.server.resources import ResourceMonitor
from modelyard.serving.deployments import DeploymentService
from modelyard.serving.reports import VersionReport, WorkerReport
from modelyard.serving.rollout import RolloutService
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store
from modelyard.store.encryption import Sealer
from modelyard.store.home import Home
from modelyard.store.line_files import LineFile, LineFolder
from modelyard.testing.preloaded import Preloaded

ADMIN = "admin-key-for-the-tests"
PROBE = "modelyard.server.entrypoints.probe"
UPLOAD_LIMIT = 1 << 20


@dataclass
class Workers:
    """A worker that serves whatever it is wished to, at once, or as told."""

    store: Store
    state: DeploymentState = DeploymentState.READY
    reason: str = ""
    known: dict[int, VersionReport] = field(default_factory=dict)

    def reports(self) -> list[WorkerReport]:
        with self.store.read() as session:
            revisions = {deployment.id: deployment.revision for deployment in session.deployments.all()}
            ids = [v.id for m in session.models.list(1) for v in session.versions.list(1, m.name)]
        versions = {number: VersionReport(state=self.state, reason=self.reason) for number in ids}
        return [WorkerReport(slot=0, pid=1, snapshot=1, written_ns=0, versions=versions, deployments=revisions)]


@dataclass
class Platform:
    services: Services
    workers: Workers
    ready: str = ""

    def take_refusals(self) -> int:
        """What the controller does every second."""
        self.services.refusals.write()
        return RefusalIntake(self.services.store, LineFolder(self.services.home.refusals), self.services.clock, "node").take()


@functools.cache
def quick_probe() -> list[str]:
    """What tries models, without the time that its imports take."""
    return Preloaded([PROBE, "modelyard.runtimes.onnx"]).command(PROBE)


@contextmanager
def running(root: Path) -> Iterator[Platform]:
    """The services on a new home below ``root``."""
    home = Home(root / "home")
    home.create()
    clock = SystemClock()
    store = Store.open(f"sqlite:///{home.database}", clock)
    store.migrate()
    blobs = Blobs.open(str(home.blobs), home.temporary)
    keys = KeyService(store, clock)
    bootstrap(store, clock, ADMIN)
    workers = Workers(store)

    def check(workspace_id: int, spec: dict[str, Any]) -> dict[str, Any]:
        if "recipe" not in spec:
            raise InvalidRequest("A training needs a recipe.")
        return spec

    kinds = {"train": JobKind("nowhere:run", check, lambda job: {}, lambda job, folder, result: {})}
    made = Platform.__new__(Platform)
    registry = Registry(store, blobs, Prober(quick_probe()), clock)
    deployments = DeploymentService(store, workers.reports)
    services = Services(
        home=home,
        store=store,
        blobs=blobs,
        registry=registry,
        keys=keys,
        certificates=CertificateService(store, clock),
        workspaces=WorkspaceService(store, clock),
        members=MemberService(store, clock),
        people=PeopleService(store, clock),
        openid=OpenIdService(store, clock, Sealer(bytes(32)), provider_http()),
        audit=AuditLog(store, bytes(32), home.audit_heads),
        refusals=Refusals(LineFile(home.refusals, "management"), clock, lambda _seconds, _write: None),
        limits=LimitService(store, clock),
        prices=PriceService(store, clock),
        shares=ShareService(store),
        jobs=JobQueue(store, home, kinds, clock, lambda: None),
        deployments=deployments,
        rollouts=RolloutService(store, deployments, registry, home.run, clock),
        pools=PoolService(store, Resources(4.0, 2**34, 1), lambda: None),
        sealer=Sealer(bytes(32)),
        authenticate=Authenticator(keys, clock).authenticate,
        clock=clock,
        status=lambda workspace_id: {"workers": [{"slot": 0, "state": "ready"}]},
        resources=ResourceMonitor(store, home, clock).read,
        propagate=lambda: True,
        ready=lambda: made.ready,
        metrics=lambda: b"modelyard_up 1\n",
        inference_url="http://0.0.0.0:8000",
        max_upload_bytes=UPLOAD_LIMIT,
        garbage_age_seconds=0.0,
    )
    made.services, made.workers, made.ready = services, workers, ""
    yield made
    store.close()


def adder(amount: float = 1.0) -> bytes:
    """A small model: ``y = x + amount``."""
    weight = helper.make_tensor("amount", TensorProto.FLOAT, [1], [amount])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "amount"], ["y"])],
        "adder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()

import pytest

from modelyard.core.deployments import Deployment, DeploymentState, Target
from modelyard.core.models import Artifact, Profile, Version
from modelyard.core.signature import Signature
from modelyard.serving.reports import VersionReport, WorkerReport
from modelyard.serving.status import merge

P, L, R, F, D = (DeploymentState(state) for state in ("pending", "loading", "ready", "failed", "degraded"))
DEPLOYMENT = Deployment(id=4, workspace_id=1, name="d", targets=(Target(model="m", version="1"),), revision=2)


def version(identity):
    artifact = Artifact(format="onnx", digest="", files=(), entry="")
    signature = Signature(inputs=(), outputs=())
    return Version(
        id=identity, workspace_id=1, model_id=1, model="m", number=identity, artifact=artifact, signature=signature, profile=Profile()
    )


def worker(slot, states, revision=2):
    versions = {
        i: VersionReport(state=state, reason="out of memory" if state is F else "") for i, state in states.items() if state is not P
    }
    return WorkerReport(slot=slot, pid=1, snapshot=1, written_ns=0, versions=versions, deployments={4: revision})


@pytest.mark.parametrize(
    ("workers", "state"),
    [
        ([], P),
        ([{1: P}], P),
        ([{1: L}], L),
        ([{1: R}], R),
        ([{1: F}], F),
        ([{1: R}, {1: R}], R),
        ([{1: R}, {1: P}], L),
        ([{1: R}, {1: L}], L),
        ([{1: R}, {1: F}], D),
        ([{1: F}, {1: L}], L),
        ([{1: F}, {1: F}], F),
        ([{1: R, 2: R}], R),
        ([{1: R, 2: F}], D),
        ([{1: R, 2: L}], L),
    ],
)
def test_states_of_workers_and_versions_are_merged(workers, state):
    versions = [version(identity) for identity in (workers[0] if workers else {1: P})]
    status = merge(DEPLOYMENT, versions, [], [worker(slot, states) for slot, states in enumerate(workers)])
    assert status.state is state


def test_reasons_are_given_once():
    status = merge(DEPLOYMENT, [version(1)], [], [worker(0, {1: F}), worker(1, {1: F})])
    assert status.reason == "m@1: out of memory"
    assert status.versions[0].workers == {0: F, 1: F}


def test_loaded_is_not_ready_while_routes_are_of_an_older_revision():
    assert merge(DEPLOYMENT, [version(1)], [], [worker(0, {1: R}, revision=1)]).state is L


def test_a_target_that_is_gone_degrades_or_fails():
    assert merge(DEPLOYMENT, [version(1)], ["gone"], [worker(0, {1: R})]).state is D
    status = merge(DEPLOYMENT, [], ["There is no model 'm'."], [worker(0, {})])
    assert (status.state, status.reason) == (F, "There is no model 'm'.")


def test_without_any_worker_that_is_said():
    assert "no worker" in merge(DEPLOYMENT, [version(1)], [], []).reason

"""What a deployment combined when a call was answered, from the audit log and the history of aliases."""

import pytest

from modelyard.core.deployments import Target
from modelyard.core.events import Actor
from modelyard.core.models import Artifact, Profile, Version
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.ledger.combined import combined_versions
from modelyard.serving.deployments import DeploymentService

ACTOR = Actor(name="key:boss", workspace_id=1)
X = TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 1))
SECOND = 1_000_000_000


@pytest.fixture
def service(store):
    with store.write() as session:
        for name in ("a", "a", "b"):
            model = session.models.ensure(1, name)
            version = Version(
                id=0,
                workspace_id=1,
                model_id=model.id,
                model=name,
                number=0,
                artifact=Artifact(format="onnx", digest="e" * 64, files=(), entry="model.onnx"),
                signature=Signature(inputs=(X,), outputs=(X,)),
                profile=Profile(inline=True),
            )
            session.versions.add(version)
        session.aliases.set(1, "a", "champion", 1)
    return DeploymentService(store, list)


def combined(store, time_ns, target="b@1"):
    with store.read() as session:
        return combined_versions(session, 1, "d", target, time_ns)


def test_a_call_is_told_what_was_combined_at_its_time(store, clock, service):
    start = clock.time_ns()
    service.deploy(ACTOR, "d", [Target(model="b", version="1")])
    clock.advance(10.0)
    service.deploy(ACTOR, "d", [Target(model="b", version="1")], policy={"before": ["a@champion"]})
    clock.advance(10.0)
    with store.write() as session:
        session.aliases.set(1, "a", "champion", 2)
    clock.advance(10.0)
    service.deploy(ACTOR, "d", [], policy={"graph": {"kind": "sequence", "steps": ["a@1", "b@1", "a@1"]}})
    told = [combined(store, start + seconds * SECOND) for seconds in (5, 15, 25, 35)]
    assert told == [(), ("a@1", "b@1"), ("a@2", "b@1"), ("a@1", "b@1")]
    assert combined(store, start - 1) == ()


def test_what_was_never_an_alias_is_told_as_it_is_written(store, clock, service):
    service.deploy(ACTOR, "d", [Target(model="b", version="1")], policy={"after": ["a@champion"]})
    with store.write() as session:
        session.audit.append(ACTOR, "deployment.update", "d", after={"policy": {"after": ["gone@best"]}})
    assert combined(store, clock.time_ns()) == ("b@1", "gone@best")

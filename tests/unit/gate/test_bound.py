import msgspec
import pytest

from modelyard.core.access import Action
from modelyard.core.deployments import Route, ServedDeployment
from modelyard.core.errors import NotFound, PermissionDenied, Unavailable
from modelyard.core.hosting import NAME_TAG, URL_TAG, Hosted
from modelyard.core.signature import Signature
from modelyard.gate.bound import BoundGate, HostingGate
from modelyard.gate.check import SnapshotHolder
from modelyard.store.snapshot import SnapshotReader, SnapshotState, SnapshotWriter
from modelyard.testing.fakes import served_version

ID = b"0123456789abcdef"


@pytest.fixture
def publish(tmp_path, clock, snapshots):
    writer = SnapshotWriter(tmp_path / "snapshot", clock)

    def published(*names):
        deployments = tuple(ServedDeployment(id=i, workspace_id=w, name=n, revision=1, routes=()) for i, (w, n) in enumerate(names, 1))
        writer.publish(SnapshotState(workspaces={1: "default", 2: "other"}, deployments=deployments, versions=(), keys=()))
        snapshots.current = SnapshotReader(tmp_path / "snapshot").load()

    yield published
    writer.close()


def test_everybody_may_call_the_one_deployment_and_do_nothing_else(gate, snapshots, publish):
    publish((1, "iris"), (2, "foreign"))
    bound = BoundGate(gate, snapshots)
    grant = bound.authenticate({}, "", "10.1.2.3")
    assert (grant.workspace_id, grant.key_id, grant.actions, grant.deployments) == (1, 0, frozenset({Action.INFER}), frozenset({"iris"}))
    assert bound.admit(grant, Action.INFER, "iris", ID).caller == (ID, 1, 0, 1)
    with pytest.raises(NotFound):
        bound.admit(grant, Action.INFER, "foreign", ID)
    with pytest.raises(PermissionDenied):
        bound.admit(grant, Action.READ, None, ID)


def test_keys_in_headers_make_no_difference(gate, snapshots, publish):
    publish((1, "iris"))
    bound = BoundGate(gate, snapshots)
    assert bound.authenticate({b"authorization": b"Basic x"}, "key=y", "10.1.2.3") == bound.grant()


def test_without_a_name_the_one_deployment_must_be_clear(gate, snapshots, publish):
    bound = BoundGate(gate, SnapshotHolder())
    with pytest.raises(Unavailable, match="Nothing is deployed"):
        bound.grant()
    publish((1, "iris"), (1, "churn"))
    with pytest.raises(Unavailable, match="MODELYARD_CONTRACT_DEPLOYMENT"):
        BoundGate(gate, snapshots).grant()


def test_a_name_is_waited_for_and_followed(gate, snapshots, publish):
    publish((1, "iris"), (2, "churn"))
    bound = BoundGate(gate, snapshots, "churn")
    with pytest.raises(Unavailable, match="no deployment 'churn' yet"):
        bound.grant()
    publish((1, "iris"), (1, "churn"))
    assert bound.grant().deployments == {"churn"}


def test_models_of_many_are_those_that_were_loaded_through_the_contract(gate, tmp_path, clock, snapshots):
    def version(number, tags):
        return msgspec.structs.replace(served_version(number, Signature(inputs=(), outputs=())), metadata={"tags": tags})

    versions = (version(1, {NAME_TAG: "a b", URL_TAG: "/opt/a"}), version(2, {}), version(3, {NAME_TAG: "x"}))
    deployments = tuple(
        ServedDeployment(id=i, workspace_id=w, name=n, revision=1, routes=(Route(version_id=i, weight=100),))
        for i, (w, n) in enumerate([(1, "model-1"), (1, "mine"), (2, "foreign")], 1)
    )
    writer = SnapshotWriter(tmp_path / "snapshot", clock)
    many = HostingGate(gate, snapshots)
    # Before anything is loaded nothing may be called: an empty set of names would mean all.
    assert not many.grant().covers("iris")
    writer.publish(SnapshotState(workspaces={1: "default", 2: "other"}, deployments=deployments, versions=versions, keys=()))
    snapshots.current = SnapshotReader(tmp_path / "snapshot").load()
    assert many.hosted() == {"a b": Hosted(name="a b", url="/opt/a", deployment="model-1")}
    grant = many.authenticate({}, "", "10.1.2.3")
    assert (grant.actions, grant.deployments) == ({Action.INFER, Action.DEPLOY}, {"model-1"})
    with pytest.raises(NotFound):
        many.admit(grant, Action.INFER, "mine", ID)
    writer.close()

import msgspec
import pytest

from modelyard.core.access import Action
from modelyard.core.errors import InvalidRequest, NotFound, PermissionDenied, Unavailable
from modelyard.core.inference import Cost
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.check import Gate, SnapshotHolder, scoped_deployment
from modelyard.store.segments import JournalReader

ID = b"0123456789abcdef"


@pytest.fixture
def wide(gate):
    return gate.authenticate({b"x-api-key": b"my_abc_0123456789"}, "", "10.1.2.3")


@pytest.fixture
def scoped(gate):
    return gate.authenticate({b"x-api-key": b"my_def_0123456789"}, "", "10.1.2.3")


def test_a_permit_names_who_calls_what(gate, wide):
    assert gate.admit(wide, Action.INFER, "churn", ID).caller == (ID, 1, 1, 2)


def test_a_call_that_names_no_deployment_is_admitted(gate, scoped):
    assert gate.admit(scoped, Action.INFER, None, ID).caller == (ID, 1, 2, 0)


def test_a_missing_right_is_refused(gate, scoped):
    with pytest.raises(PermissionDenied, match="may not read"):
        gate.admit(scoped, Action.READ, None, ID)


def test_missing_foreign_and_unscoped_deployments_get_the_same_answer(gate, scoped):
    messages = set()
    for name in ("iris", "foreign", "never"):
        with pytest.raises(NotFound) as refused:
            gate.admit(scoped, Action.INFER, name, ID)
        messages.add(refused.value.message.replace(name, "NAME"))
    assert len(messages) == 1
    assert gate.admit(scoped, Action.INFER, "churn", ID).caller[3] == 2


def test_a_settled_permit_leaves_one_record(gate, wide, tmp_path, clock):
    permit = gate.admit(wide, Action.INFER, "iris", ID)
    permit.settle(200, Cost(rows=3, version_id=9, compute_us=5, cached=True), ProtocolId.TENSORFLOW_REST, CallKind.INFER, 10, 20)
    (record,) = JournalReader(tmp_path / "journal").records()
    assert (record.request_id, record.workspace_id, record.key_id, record.deployment_id, record.version_id) == (ID, 1, 1, 1, 9)
    assert (record.rows, record.compute_us, record.cached, record.bytes_in, record.bytes_out) == (3, 5, True, 10, 20)
    assert (record.protocol, record.kind, record.status) == (ProtocolId.TENSORFLOW_REST, CallKind.INFER, 200)
    assert record.time_ns == clock.time_ns()


def test_settling_twice_is_an_error_and_records_once(gate, wide, tmp_path):
    permit = gate.admit(wide, Action.INFER, "iris", ID)
    assert not permit.settled
    permit.settle(200, Cost(), ProtocolId.OTHER, CallKind.OTHER, 0, 0)
    assert permit.settled
    with pytest.raises(RuntimeError):
        permit.settle(200, Cost(), ProtocolId.OTHER, CallKind.OTHER, 0, 0)
    assert len(JournalReader(tmp_path / "journal").records()) == 1


def test_nobody_is_admitted_while_usage_cannot_be_recorded(snapshots, journal, wide):
    journal.close()
    with pytest.raises(Unavailable, match="cannot be recorded"):
        Gate(snapshots, journal).admit(wide, Action.INFER, "iris", ID)


def test_a_swapped_snapshot_counts_at_once(gate, snapshots, wide):
    snapshots.current = SnapshotHolder().current
    with pytest.raises(NotFound):
        gate.admit(wide, Action.INFER, "iris", ID)


def test_a_path_without_a_name_means_the_one_deployment_of_the_key(wide, scoped):
    assert scoped_deployment(scoped, "/invocations") == "churn"
    with pytest.raises(InvalidRequest, match="call /deployments/NAME/invocations, or use a key"):
        scoped_deployment(wide, "/invocations")
    with pytest.raises(InvalidRequest, match="may call 2 deployments"):
        scoped_deployment(msgspec.structs.replace(scoped, deployments=frozenset({"a", "b"})), "/invocations")

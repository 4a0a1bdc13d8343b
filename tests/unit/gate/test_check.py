import msgspec
import pytest

from modelyard.core.access import Action
from modelyard.core.cost import Cost
from modelyard.core.errors import InvalidRequest, NotFound, PermissionDenied, Unauthenticated, Unavailable
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


def bearer(secret):
    return {b"authorization": b"Bearer " + secret}


def test_a_key_that_came_before_is_refused_from_the_snapshot_on_that_lacks_it(gate, snapshots):
    grant = gate.authenticate(bearer(b"my_abc_0123456789"), "", "10.1.2.3")
    assert gate.authenticate(bearer(b"my_abc_0123456789"), "", "10.1.2.3") is grant
    gate.admit(grant, Action.INFER, "iris", ID)
    snapshots.current = SnapshotHolder().current
    with pytest.raises(Unauthenticated, match="not valid"):
        gate.authenticate(bearer(b"my_abc_0123456789"), "", "10.1.2.3")
    with pytest.raises(NotFound):
        gate.admit(grant, Action.INFER, "iris", ID)


def test_a_known_key_expires_and_no_clock_brings_it_back(gate, clock):
    once = gate.authenticate(bearer(b"my_exp_0123456789"), "", "10.1.2.3")
    clock.advance(61)
    other = gate.authenticate(bearer(b"my_abc_0123456789"), "", "10.1.2.3")
    gate.admit(other, Action.INFER, "iris", ID).settle(200, Cost(), ProtocolId.OTHER, CallKind.OTHER, 0, 0)
    clock.advance(-120)  # the record of a call says that it was later
    with pytest.raises(Unauthenticated, match="not valid"):
        gate.authenticate(bearer(b"my_exp_0123456789"), "", "10.1.2.3")
    assert once.key_id == 3


def test_a_known_key_is_refused_from_other_networks(gate):
    headers = bearer(b"my_net_0123456789")
    assert gate.authenticate(headers, "", "10.1.2.3").key_id == 4
    assert gate.authenticate(headers, "", "10.9.9.9").key_id == 4
    with pytest.raises(PermissionDenied, match="may not be used from"):
        gate.authenticate(headers, "", "192.0.2.1")


def test_known_keys_are_not_mixed(gate):
    wide = gate.authenticate(bearer(b"my_abc_0123456789"), "", "10.1.2.3")
    gate.admit(wide, Action.INFER, "iris", ID)
    scoped = gate.authenticate(bearer(b"my_def_0123456789"), "", "10.1.2.3")
    with pytest.raises(NotFound):
        gate.admit(scoped, Action.INFER, "iris", ID)
    assert gate.admit(wide, Action.INFER, "iris", ID).caller == (ID, 1, 1, 1)
    assert gate.admit(scoped, Action.INFER, "churn", ID).caller == (ID, 1, 2, 2)
    for also in ({b"x-api-key": b"my_def_0123456789"}, {b"api-key": b"other"}):
        with pytest.raises(Unauthenticated, match="Several"):
            gate.authenticate(bearer(b"my_abc_0123456789") | also, "", "10.1.2.3")
    with pytest.raises(Unauthenticated, match="address"):
        gate.authenticate(bearer(b"my_abc_0123456789"), "key=1", "10.1.2.3")


def test_more_keys_than_are_remembered_are_all_let_in(gate, monkeypatch):
    monkeypatch.setattr("modelyard.gate.check._KNOWN", 1)
    for _ in range(2):
        for secret, number in ((b"my_abc_0123456789", 1), (b"my_def_0123456789", 2)):
            assert gate.authenticate(bearer(secret), "", "10.1.2.3").key_id == number

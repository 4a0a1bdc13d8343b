"""Calling in the name of a key that is known by its digest only."""

from hashlib import sha256

from modelyard.core.access import Action, Key
from modelyard.core.clock import ManualClock
from modelyard.identity.first import administrator
from modelyard.serving.delegation import Delegation
from modelyard.serving.prediction_files import Submission, new_id
from modelyard.serving.publisher import SnapshotPublisher
from modelyard.store.database import Store
from modelyard.store.snapshot import SnapshotReader, SnapshotWriter

KEY = Key(
    id=7, workspace_id=1, public_id="abc", digest="0" * 64, actions=(Action.INFER, Action.DEVELOP), deployments=("demo",), expires_ns=2**61
)


def test_a_twin_has_the_same_limits_and_may_only_call():
    delegation = Delegation(b"s" * 16)
    twin = delegation.twin(KEY)
    assert twin.digest == sha256(delegation.secret_of(7).encode()).hexdigest() != KEY.digest
    assert (twin.id, twin.workspace_id, twin.deployments, twin.expires_ns) == (7, 1, ("demo",), 2**61)
    assert twin.actions == (Action.INFER,)


def test_twins_differ_by_key_and_by_home():
    assert len({Delegation(secret).secret_of(key) for secret in (b"a" * 16, b"b" * 16) for key in (1, 2)}) == 4


def test_a_key_that_may_not_call_has_none():
    reader = Key(id=8, workspace_id=1, public_id="x", digest="1" * 64, actions=(Action.READ,))
    assert Delegation(b"s" * 16).twin(reader) is None


def test_the_published_snapshot_lets_the_twin_in_until_the_key_ends(tmp_path):
    clock, delegation = ManualClock(), Delegation(b"s" * 16)
    store = Store.open(f"sqlite:///{tmp_path}/db", clock)
    store.migrate()
    with store.write() as session:
        owner = administrator(session).id
        key = session.keys.add(Key(id=0, workspace_id=1, principal_id=owner, public_id="abc", digest="2" * 64, networks=("10.0.0.0/8",)))
    publisher = SnapshotPublisher(store, SnapshotWriter(tmp_path), clock, delegation)
    publisher.publish_if_changed()
    submission = Submission(id=new_id(1), workspace_id=1, key_id=key.id, deployment="demo", body="{}")
    secret = delegation.headers(submission.key_id)["authorization"].removeprefix("Bearer ")
    reader = SnapshotReader(tmp_path)
    assert reader.load().grant(sha256(secret.encode()).digest()).key_id == key.id
    with store.write() as session:
        session.keys.revoke(1, "abc", clock.time_ns())
        session.settings.bump("state")
    publisher.publish_if_changed()
    assert reader.load().grant(sha256(secret.encode()).digest()) is None
    store.close()

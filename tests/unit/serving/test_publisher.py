import hashlib

import pytest

from modelyard.core.access import Action, Key, Role
from modelyard.core.deployments import Deployment, Route, Target
from modelyard.core.errors import Unavailable
from modelyard.core.models import Artifact, ArtifactFile, Card, Profile, Version
from modelyard.core.principals import Membership, Principal, PrincipalKind
from modelyard.core.signature import Signature
from modelyard.identity.first import administrator
from modelyard.serving.publisher import SnapshotPublisher
from modelyard.store.snapshot import SnapshotReader, SnapshotWriter


@pytest.fixture
def writer(tmp_path, clock):
    writer = SnapshotWriter(tmp_path / "snapshot", clock)
    yield writer
    writer.close()


@pytest.fixture
def reader(tmp_path):
    reader = SnapshotReader(tmp_path / "snapshot")
    yield reader
    reader.close()


@pytest.fixture
def publisher(store, writer, clock):
    return SnapshotPublisher(store, writer, clock)


def add_version(session, model, workspace_id=1):
    made = session.models.ensure(workspace_id, model)
    file = ArtifactFile(path="model.onnx", digest="d" * 64, size=9)
    return session.versions.add(
        Version(
            id=0,
            workspace_id=workspace_id,
            model_id=made.id,
            model=model,
            number=0,
            artifact=Artifact(format="onnx", digest="e" * 64, files=(file,), entry="model.onnx"),
            signature=Signature(inputs=(), outputs=()),
            profile=Profile(inline=True),
            metrics={"accuracy": 0.9},
            card=Card(summary="good"),
        )
    )


def deploy(session, name, *targets, workspace_id=1):
    made = tuple(Target(model=model, version=version, weight=weight) for model, version, weight in targets)
    return session.deployments.add(Deployment(id=0, workspace_id=workspace_id, name=name, targets=made, policy={"a": 1}))


def test_the_first_snapshot_comes_even_when_nothing_was_ever_changed(publisher, reader):
    assert publisher.publish_if_changed() == 1
    assert reader.load().workspaces == {1: "default"}


def test_nothing_is_published_while_nothing_changes(publisher, store):
    publisher.publish_if_changed()
    assert publisher.publish_if_changed() is None
    with store.write() as session:
        add_version(session, "m")
        deploy(session, "d", ("m", "1", 100))
    assert publisher.publish_if_changed() == 2
    assert publisher.publish_if_changed() is None


def test_aliases_are_followed_and_shares_of_one_version_joined(publisher, store, reader):
    with store.write() as session:
        first, second = add_version(session, "m"), add_version(session, "m")
        session.aliases.set(1, "m", "champion", 1)
        deploy(session, "d", ("m", "champion", 90), ("m", "2", 5), ("m", "1", 5))
    publisher.publish_if_changed()
    snapshot = reader.load()
    assert snapshot.deployment(1, "d").routes == (Route(version_id=first.id, weight=95), Route(version_id=second.id, weight=5))
    assert snapshot.deployment(1, "d").policy == {"a": 1}
    assert snapshot.versions[first.id].aliases == ("champion",)
    assert snapshot.versions[first.id].artifact == first.artifact
    assert snapshot.versions[first.id].metadata["metrics"] == {"accuracy": 0.9}
    with store.write() as session:
        session.aliases.set(1, "m", "champion", 2)
    publisher.publish_if_changed()
    snapshot = reader.load()
    assert snapshot.deployment(1, "d").routes == (Route(version_id=second.id, weight=95), Route(version_id=first.id, weight=5))


def test_versions_that_nobody_routes_to_are_left_out(publisher, store, reader):
    with store.write() as session:
        add_version(session, "m")
    publisher.publish_if_changed()
    assert reader.load().versions == {}


def test_a_lost_target_takes_nothing_else_along(publisher, store, reader):
    with store.write() as session:
        version = add_version(session, "m")
        session.aliases.set(1, "m", "gone", 1)
        deploy(session, "broken", ("m", "gone", 100), ("m", "7", 1), ("never", "1", 1))
        deploy(session, "whole", ("m", "1", 100))
        session.aliases.remove(1, "m", "gone")
    publisher.publish_if_changed()
    snapshot = reader.load()
    assert snapshot.deployment(1, "broken").routes == ()
    assert snapshot.deployment(1, "whole").routes == (Route(version_id=version.id, weight=100),)


def test_models_of_another_workspace_are_never_routed_to(publisher, store, reader):
    with store.write() as session:
        other = session.workspaces.create("other").id
        add_version(session, "m", workspace_id=other)
        deploy(session, "d", ("m", "1", 100))
    publisher.publish_if_changed()
    assert reader.load().deployment(1, "d").routes == ()


def test_revoked_and_expired_keys_are_left_out(publisher, store, reader, clock):
    with store.write() as session:
        for name, expires in (("alive", 0), ("revoked", 0), ("expired", clock.time_ns() - 1)):
            digest = hashlib.sha256(name.encode()).hexdigest()
            owner = administrator(session).id
            session.keys.add(Key(id=0, workspace_id=1, principal_id=owner, public_id=name, digest=digest, expires_ns=expires))
        session.keys.revoke(1, "revoked", clock.time_ns())
    publisher.publish_if_changed()
    snapshot = reader.load()
    found = {name for name in ("alive", "revoked", "expired") if snapshot.grant(hashlib.sha256(name.encode()).digest())}
    assert found == {"alive"}


def test_keys_come_and_go_from_one_snapshot_to_the_next(publisher, store, reader, clock):
    def known():
        publisher.publish_if_changed()
        snapshot = reader.load()
        return {name for name in "abcd" if snapshot.grant(hashlib.sha256(name.encode()).digest())}

    def add(name, expires_ns=0):
        with store.write() as session:
            digest = hashlib.sha256(name.encode()).hexdigest()
            owner = administrator(session).id
            session.keys.add(Key(id=0, workspace_id=1, principal_id=owner, public_id=name, digest=digest, expires_ns=expires_ns))

    def revoke(name):
        with store.write() as session:
            session.keys.revoke(1, name, clock.time_ns())

    add("a")
    add("b", clock.time_ns() + 5_000_000_000)
    assert known() == {"a", "b"}
    add("c")
    revoke("a")
    assert known() == {"b", "c"}
    clock.advance(6)
    revoke("c")
    assert known() == set()
    clock.set_back(6)  # the expired key comes back into the file; gates refuse it by their own latest time
    add("d")
    assert known() == {"b", "d"}


def test_what_could_not_be_written_is_published_the_next_time(publisher, writer, reader, monkeypatch):
    def full(_state):
        raise Unavailable("No space left.")

    monkeypatch.setattr(writer, "publish", full)
    with pytest.raises(Unavailable):
        publisher.publish_if_changed()
    monkeypatch.undo()
    assert publisher.publish_if_changed() == 1


def test_keys_are_published_within_what_their_principals_may(publisher, store, reader):
    def sha(name):
        return hashlib.sha256(name.encode()).digest()

    def granted(*names):
        publisher.publish_if_changed()
        snapshot = reader.load()
        return [sorted(found.actions) if (found := snapshot.grant(sha(name))) else None for name in names]

    with store.write() as session:
        web = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.SERVICE, name="web"))
        for name, owner in (("mine", web.id), ("nobody", 0)):
            key = Key(
                id=0, workspace_id=1, principal_id=owner, public_id=name, digest=sha(name).hex(), actions=(Action.INFER, Action.DEPLOY)
            )
            session.keys.add(key)
    assert granted("mine", "nobody") == [None, None]
    for revision, (role, expected) in enumerate(((Role.DEVELOPER, ["deploy", "infer"]), (Role.CONSUMER, ["infer"]), (Role.AUDITOR, None))):
        with store.write() as session:
            session.memberships.put(Membership(id=0, workspace_id=1, principal_id=web.id, roles=(role,)), revision)
        assert granted("mine", "nobody") == [expected, None]


def test_a_rotated_key_is_published_with_both_secrets(publisher, store, reader, clock):
    def sha(name):
        return hashlib.sha256(name.encode()).digest()

    with store.write() as session:
        key = Key(
            id=0, workspace_id=1, principal_id=administrator(session).id, public_id="k", digest=sha("old").hex(), networks=("10.0.0.0/8",)
        )
        key = session.keys.add(key)
    publisher.publish_if_changed()
    until = clock.time_ns() + 60_000_000_000
    with store.write() as session:
        session.keys.rotate(key, sha("new").hex(), until, 0)
    publisher.publish_if_changed()
    old, new = (reader.load().grant(sha(name)) for name in ("old", "new"))
    assert (old.key_id, old.expires_ns, old.networks, old.principal_id) == (key.id, until, ("10.0.0.0/8",), key.principal_id)
    assert (new.key_id, new.expires_ns, new.networks) == (key.id, 0, ("10.0.0.0/8",))
    with store.write() as session:
        session.keys.revoke(1, "k", clock.time_ns())
    publisher.publish_if_changed()
    assert [reader.load().grant(sha(name)) for name in ("old", "new")] == [None, None]

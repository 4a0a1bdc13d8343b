import hashlib
import mmap
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.access import Action, Key
from modelyard.core.clock import ManualClock
from modelyard.core.deployments import Route, ServedDeployment, ServedVersion
from modelyard.core.errors import Unavailable
from modelyard.core.models import Artifact, ArtifactFile, Profile
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.store.snapshot import KEEP, Snapshot, SnapshotReader, SnapshotState, SnapshotWriter


def digest(secret):
    return hashlib.sha256(secret.encode()).digest()


def key(number, **changes):
    values = {"id": number, "workspace_id": 1, "public_id": f"k{number}", "digest": digest(f"secret{number}").hex()}
    return Key(**(values | changes))


def state(**changes):
    values = {"workspaces": {1: "default"}, "deployments": (), "versions": (), "keys": ()}
    return SnapshotState(**(values | changes))


VERSION = ServedVersion(
    id=5,
    model="m",
    number=2,
    artifact=Artifact(format="onnx", digest="a" * 64, files=(ArtifactFile(path="m.onnx", digest="b" * 64, size=3),), entry="m.onnx"),
    signature=Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=("n", 4)),),
        outputs=(TensorSpec(name="y", datatype=Datatype.BYTES, shape=(-1,)),),
    ),
    profile=Profile(inline=True),
    aliases=("champion",),
    metadata={"metrics": {"accuracy": 0.5}},
)
DEPLOYMENT = ServedDeployment(id=3, workspace_id=1, name="d", revision=7, routes=(Route(version_id=5, weight=100),), policy={"a": [1]})


@pytest.fixture
def writer(tmp_path):
    writer = SnapshotWriter(tmp_path, ManualClock(1000))
    yield writer
    writer.close()


@pytest.fixture
def reader(tmp_path):
    reader = SnapshotReader(tmp_path)
    yield reader
    reader.close()


def test_what_was_published_is_loaded(writer, reader):
    number = writer.publish(state(deployments=(DEPLOYMENT,), versions=(VERSION,), keys=(key(1),)))
    snapshot = reader.load()
    assert (snapshot.number, snapshot.created_ns, snapshot.workspaces) == (number, 1000, {1: "default"})
    assert snapshot.deployments == [DEPLOYMENT]
    assert snapshot.versions == {5: VERSION}
    assert snapshot.deployment(1, "d") == DEPLOYMENT
    assert snapshot.deployment(2, "d") is None


def test_grants_say_what_keys_say(writer, reader):
    wide = key(1, workspace_id=9, actions=(Action.INFER, Action.KEYS), deployments=("a", "b"), expires_ns=12345)
    writer.publish(state(keys=(wide, key(2))))
    grant = reader.load().grant(digest("secret1"))
    assert (grant.workspace_id, grant.key_id, grant.public_id, grant.expires_ns) == (9, 1, "k1", 12345)
    assert grant.actions == {Action.INFER, Action.KEYS}
    assert grant.deployments == {"a", "b"}


@given(st.sets(st.text(min_size=1, max_size=8), max_size=40), st.text(max_size=8))
def test_exactly_the_published_keys_are_found(tmp_path_factory, secrets, other):
    folder = tmp_path_factory.mktemp("snapshot")
    keys = tuple(key(number, digest=digest(secret).hex()) for number, secret in enumerate(secrets))
    writer = SnapshotWriter(folder)
    writer.publish(state(keys=keys))
    writer.close()
    snapshot = SnapshotReader(folder).load()
    for number, secret in enumerate(secrets):
        assert snapshot.grant(digest(secret)).key_id == number
        assert snapshot.grant(digest(secret)) is snapshot.grant(digest(secret))
    assert (snapshot.grant(digest(other)) is not None) == (other in secrets)


def test_the_empty_snapshot_knows_nothing():
    empty = Snapshot.empty()
    assert (empty.number, empty.grant(bytes(32)), empty.deployment(1, "d"), empty.key_count) == (0, None, None, 0)


def test_digests_of_zeros_and_ones_open_nothing(writer, reader):
    writer.publish(state(keys=(key(1),)))
    snapshot = reader.load()
    assert snapshot.grant(bytes(32)) is None
    assert snapshot.grant(b"\xff" * 32) is None


def test_a_reader_sees_the_number_change_without_loading(writer, reader):
    assert reader.number == 0
    first = writer.publish(state())
    assert reader.number == first
    second = writer.publish(state())
    assert reader.number == second == first + 1


def test_nothing_published_yet_is_said(reader):
    with pytest.raises(Unavailable, match="No snapshot is published"):
        reader.load()


def test_numbers_go_on_after_a_restart_even_when_the_counter_is_lost(tmp_path):
    writer = SnapshotWriter(tmp_path)
    for _ in range(3):
        writer.publish(state())
    writer.close()
    (tmp_path / "current").unlink()
    (tmp_path / "9.tmp").write_bytes(b"left by a crash")
    writer = SnapshotWriter(tmp_path)
    assert writer.publish(state()) == 4
    writer.close()
    assert not (tmp_path / "9.tmp").exists()


def test_numbers_go_on_when_every_file_is_lost(tmp_path):
    writer = SnapshotWriter(tmp_path)
    writer.publish(state())
    writer.close()
    (tmp_path / "1.snap").unlink()
    writer = SnapshotWriter(tmp_path)
    assert writer.publish(state()) == 2
    writer.close()


def test_a_second_writer_is_refused(writer, tmp_path):
    with pytest.raises(Unavailable, match="Another controller"):
        SnapshotWriter(tmp_path)


def test_only_the_last_files_stay_and_old_snapshots_go_on_working(writer, reader, tmp_path):
    writer.publish(state(keys=(key(1),)))
    old = reader.load()
    for _ in range(KEEP + 2):
        writer.publish(state())
    assert len(list(tmp_path.glob("*.snap"))) == KEEP
    assert old.grant(digest("secret1")).key_id == 1


def test_a_file_that_vanished_meanwhile_gives_the_newer_one(writer, reader, tmp_path, monkeypatch):
    writer.publish(state())
    writer.publish(state(workspaces={2: "newer"}))
    (tmp_path / "1.snap").unlink()
    numbers = iter([1, 2, 2])
    monkeypatch.setattr(SnapshotReader, "number", property(lambda self: next(numbers)))
    assert reader.load().workspaces == {2: "newer"}


def test_a_missing_file_is_said(writer, reader, tmp_path):
    writer.publish(state())
    (tmp_path / "1.snap").unlink()
    with pytest.raises(Unavailable, match="missing"):
        reader.load()


def test_every_torn_or_flipped_byte_is_noticed(writer, reader, tmp_path):
    writer.publish(state(deployments=(DEPLOYMENT,), versions=(VERSION,), keys=(key(1), key(2))))
    path = tmp_path / "1.snap"
    whole = path.read_bytes()
    original = reader.load()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at])
        with pytest.raises(Unavailable, match=r"1\.snap"):
            reader.load()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        try:
            damaged = reader.load()
        except Unavailable:
            continue
        for secret in ("secret1", "secret2"):
            assert damaged.grant(digest(secret)) in (None, original.grant(digest(secret)))
        assert damaged.deployments == original.deployments


def test_a_full_disk_leaves_the_old_one_current(writer, reader, monkeypatch):
    writer.publish(state())

    def full(*_):
        yield b"half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modelyard.store.snapshot._encode", full)
    with pytest.raises(Unavailable, match="No space left"):
        writer.publish(state())
    assert reader.number == writer.number == 1
    monkeypatch.undo()
    assert writer.publish(state()) == 2


def test_the_counter_is_eight_bytes_that_stay_in_place(writer, tmp_path):
    with (tmp_path / "current").open("rb") as file:
        memory = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    writer.publish(state())
    assert int.from_bytes(memory[:8], "little") == 1
    memory.close()


def test_a_process_out_of_file_descriptors_keeps_what_it_has(writer, reader, monkeypatch):
    writer.publish(state())
    assert reader.number == 1

    def exhausted(*_arguments, **_named):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("pathlib.Path.open", exhausted)
    with pytest.raises(Unavailable, match="Too many open files"):
        reader.load()


def test_keys_that_come_change_and_go_are_what_the_newest_snapshot_says(tmp_path):
    """Whatever the writer keeps from one snapshot to the next: what is read is what was given."""
    rng = random.Random(7)
    writer, reader = SnapshotWriter(tmp_path), SnapshotReader(tmp_path)
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(60)]
    for round_ in range(60):
        chosen = rng.sample(range(60), rng.randrange(60))
        keys = tuple(
            Key(id=number + 1, workspace_id=1, public_id=f"k{number}", digest=digests[number], expires_ns=rng.choice((0, round_)))
            for number in chosen
        )
        writer.publish(SnapshotState(workspaces={1: "default"}, deployments=(), versions=(), keys=keys))
        snapshot = reader.load()
        assert snapshot.key_count == len(keys)
        given = {key.digest: (key.id, key.public_id, key.expires_ns) for key in keys}
        for digest in digests:
            grant = snapshot.grant(bytes.fromhex(digest))
            assert (None if grant is None else (grant.key_id, grant.public_id, grant.expires_ns)) == given.get(digest)
    writer.close()

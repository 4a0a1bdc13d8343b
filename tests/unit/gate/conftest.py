import hashlib

import pytest

from modelyard.core.access import Action, Key
from modelyard.core.clock import ManualClock
from modelyard.core.deployments import ServedDeployment
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.journal import Journal
from modelyard.store.snapshot import SnapshotReader, SnapshotState, SnapshotWriter

SECRET = "my_abc_0123456789"
SCOPED = "my_def_0123456789"
EXPIRING = "my_exp_0123456789"
BOUND = "my_net_0123456789"


def key(number, secret, **changes):
    values = {"id": number, "workspace_id": 1, "public_id": secret[3:6], "digest": hashlib.sha256(secret.encode()).hexdigest()}
    return Key(**(values | changes))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def snapshots(tmp_path, clock):
    names = [(1, 1, "iris"), (2, 1, "churn"), (3, 2, "foreign")]
    state = SnapshotState(
        workspaces={1: "default", 2: "other"},
        deployments=tuple(ServedDeployment(id=i, workspace_id=w, name=n, revision=1, routes=()) for i, w, n in names),
        versions=(),
        keys=(
            key(1, SECRET, actions=(Action.INFER, Action.READ)),
            key(2, SCOPED, deployments=("churn",)),
            key(3, EXPIRING, expires_ns=clock.time_ns() + 60_000_000_000),
            key(4, BOUND, networks=("10.0.0.0/8",)),
        ),
    )
    writer = SnapshotWriter(tmp_path / "snapshot", clock)
    writer.publish(state)
    writer.close()
    return SnapshotHolder(SnapshotReader(tmp_path / "snapshot").load())


@pytest.fixture
def journal(tmp_path, clock):
    journal = Journal(tmp_path / "journal", bytes(range(16)), 0, segment_bytes=8192, clock=clock)
    yield journal
    journal.close()


@pytest.fixture
def gate(snapshots, journal, clock):
    return Gate(snapshots, journal, clock)

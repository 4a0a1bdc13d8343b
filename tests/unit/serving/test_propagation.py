from __future__ import annotations

import threading

import pytest

from modelyard.serving.propagation import Propagation
from modelyard.serving.publisher import SnapshotPublisher
from modelyard.serving.reports import WorkerReport
from modelyard.store.database import Store
from modelyard.store.settings import STATE
from modelyard.store.snapshot import SnapshotWriter


@pytest.fixture
def store(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def publisher(store, tmp_path):
    folder = tmp_path / "snapshot"
    folder.mkdir()
    writer = SnapshotWriter(folder)
    publisher = SnapshotPublisher(store, writer)
    publisher.publish_if_changed()
    yield publisher
    writer.close()


def report(slot: int, snapshot: int) -> WorkerReport:
    return WorkerReport(slot=slot, pid=1, snapshot=snapshot, written_ns=0)


def change(store: Store) -> None:
    with store.write() as session:
        session.settings.bump(STATE)


def test_nothing_to_wait_for_when_workers_are_at_the_newest_snapshot(store, publisher):
    propagation = Propagation(store, publisher, lambda: [report(0, publisher.latest.number)])
    assert propagation.wait(0.5)


def test_it_waits_for_the_publisher_and_then_for_the_slowest_worker(store, publisher):
    change(store)
    slowest, ended = [publisher.latest.number], []
    propagation = Propagation(store, publisher, lambda: [report(0, publisher.latest.number), report(1, slowest[0])])
    waiting = threading.Thread(target=lambda: ended.append(propagation.wait(20)))
    waiting.start()
    assert propagation.wake.wait(10)
    publisher.publish_if_changed()
    waiting.join(0.05)
    assert not ended
    slowest[0] = publisher.latest.number
    waiting.join(10)
    assert ended == [True]


def test_a_worker_that_hangs_bounds_the_wait(store, publisher):
    change(store)
    publisher.publish_if_changed()
    propagation = Propagation(store, publisher, lambda: [report(0, publisher.latest.number - 1)])
    assert not propagation.wait(0.05)


def test_without_workers_publishing_is_enough(store, publisher):
    assert Propagation(store, publisher, list).wait(0.5)

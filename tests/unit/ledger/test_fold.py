import gzip
import os

import pytest

from modelyard.core.cost import Cost
from modelyard.core.errors import Conflict, Unavailable
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Journal
from modelyard.ledger.fold import Folder
from modelyard.ledger.query import UsageQuery, UsageWish
from modelyard.ledger.trace import Tracer
from modelyard.store.segments import RECORD_SIZE

BOOT = b"b" * 16


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def journal(folder, clock):
    journal = Journal(folder, BOOT, 0, segment_bytes=RECORD_SIZE * 17, clock=clock)
    yield journal
    journal.close()


@pytest.fixture
def fold(store, folder, clock):
    return Folder(store, folder, clock)


def append(journal, count=1, *, rows=1, key=2, status=200):
    for _ in range(count):
        journal.append((os.urandom(16), 1, key, 3), status, Cost(rows=rows), ProtocolId.OTHER, CallKind.INFER, 10, 20)
        if journal._maker is not None:
            journal._maker.join()


def calls(store):
    with store.read() as session:
        return sum(total.calls for total in session.usage.totals(1))


def test_new_records_are_added_once(store, journal, fold):
    append(journal, 3, rows=2)
    assert fold.fold().records == 3
    assert fold.fold().records == 0
    append(journal, 2, rows=2)
    assert fold.fold().records == 2
    with store.read() as session:
        (total,) = session.usage.totals(1)
    assert (total.calls, total.rows, total.bytes_in, total.bytes_out) == (5, 10, 50, 100)


def test_an_empty_folder_is_no_trouble(fold):
    assert fold.fold().records == 0


def test_calls_are_kept_apart_by_minute_key_and_status_class(store, journal, fold, clock):
    append(journal, 1, key=2)
    append(journal, 1, key=4)
    append(journal, 2, key=4, status=404)
    clock.advance(60)
    append(journal, 1, key=4)
    fold.fold()
    with store.read() as session:
        totals = session.usage.totals(1, by=("minute", "key_id", "status"))
    first = clock.time_ns() // 60_000_000_000 - 1
    assert sorted((t.minute - first, t.key_id, t.status, t.calls) for t in totals) == [
        (0, 2, 2, 1),
        (0, 4, 2, 1),
        (0, 4, 4, 2),
        (1, 4, 2, 1),
    ]


def test_full_and_abandoned_segments_are_archived_and_their_cursors_forgotten(store, journal, fold, folder):
    append(journal, 40)
    report = fold.fold()
    assert (report.records, report.archived) == (40, 2)
    assert len(list((folder / "archive").glob("*.journal.gz"))) == 2
    journal.close()
    report = fold.fold()
    assert (report.records, report.archived) == (0, 1)
    assert list(folder.glob("*.journal*")) == []
    with store.read() as session:
        assert session.usage.positions() == {}
    assert calls(store) == 40


def test_the_archive_holds_the_segment_as_it_was(journal, fold, folder):
    append(journal, 3)
    journal.close()
    (path,) = [path for path in folder.glob("*.journal") if path.name.endswith("000000.journal")]
    content = path.read_bytes()
    fold.fold()
    (packed,) = (folder / "archive").iterdir()
    assert gzip.decompress(packed.read_bytes()) == content


def test_segments_that_never_held_a_call_leave_nothing(journal, fold, folder):
    journal.close()
    assert fold.fold().archived == 0
    assert list(folder.glob("**/*.journal*")) == []


def test_archives_go_when_their_retention_is_over(store, journal, folder, clock):
    append(journal)
    journal.close()
    now = clock.time_ns() / 1e9
    for path in folder.glob("*.journal"):
        os.utime(path, (now, now))
    fold = Folder(store, folder, clock, retention_seconds=100.0)
    fold.fold()
    (packed,) = (folder / "archive").iterdir()
    os.utime(packed, (now - 99, now - 99))
    assert fold.fold().removed == 0
    os.utime(packed, (now - 101, now - 101))
    assert fold.fold().removed == 1
    assert calls(store) == 1


def test_damaged_records_are_set_aside_and_told_and_the_rest_counts(store, journal, fold, folder):
    append(journal, 5)
    (path,) = folder.glob("*.journal")
    with path.open("r+b") as file:
        file.seek(RECORD_SIZE * 3 + 40)
        file.write(b"\xff\xff")
    report = fold.fold()
    assert report.records == 4
    assert report.damaged == (f"{path.stem}#3",)
    (kept,) = (folder / "quarantine").iterdir()
    assert kept.stat().st_size == RECORD_SIZE
    assert fold.fold().damaged == ()
    assert calls(store) == 4


def test_a_file_without_a_sound_header_is_set_aside_once_it_is_old(fold, folder, clock):
    folder.mkdir(exist_ok=True)
    path = folder / "x.journal"
    path.write_bytes(b"not a segment")
    now = clock.time_ns() / 1e9
    os.utime(path, (now, now))
    assert fold.fold().damaged == ()
    os.utime(path, (now - 61, now - 61))
    assert fold.fold().damaged == ("x.journal",)
    assert (folder / "quarantine" / "x.journal").exists()


def test_what_a_worker_died_making_is_dropped_once_it_is_old(fold, folder, clock):
    path = folder / "x.journal.tmp"
    path.write_bytes(b"")
    now = clock.time_ns() / 1e9
    os.utime(path, (now - 61, now - 61))
    assert fold.fold().damaged == ()
    assert not path.exists()


def test_somebody_else_folding_the_same_is_noticed_and_counts_nothing_twice(store, journal, fold, folder, clock, monkeypatch):
    append(journal, 3)
    commit = Folder._commit

    def late(self, parts):
        monkeypatch.setattr(Folder, "_commit", commit)
        Folder(store, folder, clock).fold()
        commit(self, parts)

    monkeypatch.setattr(Folder, "_commit", late)
    with pytest.raises(Conflict):
        fold.fold()
    assert calls(store) == 3


def test_a_database_that_is_away_loses_nothing(store, journal, fold, monkeypatch):
    append(journal, 3)

    def away():
        raise Unavailable("The database did not answer.")

    monkeypatch.setattr(store, "write", away)
    with pytest.raises(Unavailable):
        fold.fold()
    monkeypatch.undo()
    assert fold.fold().records == 3
    assert calls(store) == 3


def test_a_disk_too_full_for_the_archive_is_told_and_counts_nothing_twice(store, journal, fold, folder, monkeypatch):
    append(journal, 3)
    journal.close()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        fold.fold()
    monkeypatch.undo()
    assert fold.fold().records == 0
    assert calls(store) == 3
    assert len(list((folder / "archive").iterdir())) == 1


def test_energy_is_given_to_deployments_by_what_they_computed(store, folder, clock, journal):
    asked = []

    def per_us(compute_us):
        asked.append(compute_us)
        return 2.0 if compute_us else 0.0

    for deployment, compute_us in ((3, 100), (4, 300)):
        caller = (os.urandom(16), 1, 2, deployment)
        journal.append(caller, 200, Cost(rows=1, compute_us=compute_us), ProtocolId.OTHER, CallKind.INFER, 10, 20)
    fold = Folder(store, folder, clock, energy=per_us)
    fold.fold()
    fold.fold()
    assert asked == [400, 0]  # asked without calls too, so that idle time is put on nobody
    with store.read() as session:
        found = {used.deployment_id: used.energy_uj for used in session.usage.totals(1, by=("deployment_id",))}
    assert found == {3: 200, 4: 600}
    rows = UsageQuery(store).usage(UsageWish(workspace_id=1))
    assert {row.deployment: row.energy_uj for row in rows} == {"#3": 200, "#4": 600}
    traced = Tracer(store, folder).trace(1, caller[0].hex())
    assert (traced.deployment, traced.energy_uj) == ("#4", 600)


def test_a_machine_that_reports_no_energy_says_so(store, folder, clock, journal, fold):
    append(journal, 2)
    fold.fold()
    [row] = UsageQuery(store).usage(UsageWish(workspace_id=1))
    assert (row.calls, row.energy_uj) == (2, None)

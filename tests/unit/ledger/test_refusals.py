from __future__ import annotations

import threading

import msgspec
import pytest

from modelyard.core.refusals import Refusal, Why, gather
from modelyard.gate import refusals as noting
from modelyard.gate.refusals import Refusals
from modelyard.ledger import refusals as taking
from modelyard.ledger.refusals import ACTION, RefusalIntake
from modelyard.store.line_files import LineFile, LineFolder


def refusal(**changes):
    fields = {"workspace_id": 1, "actor": "key:a", "why": Why.ACTION, "place": "POST /x", "subject": "POST /x", "reason": "no"}
    return Refusal(**(fields | changes))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "refusals"
    made.mkdir()
    return made


@pytest.fixture
def intake(store, folder, clock):
    return RefusalIntake(store, LineFolder(folder), clock, "n")


def worker(folder, clock, name="0"):
    waiting = []
    return Refusals(LineFile(folder, name), clock, lambda _, write: waiting.append(write)), waiting


def rows(store):
    with store.read() as session:
        return [(event.actor, event.subject, event.after.get("times")) for event in session.audit.events(1) if event.action == ACTION]


def test_one_row_stands_for_what_came_together_from_all_processes(store, folder, clock, intake):
    for name in "01":
        noted, waiting = worker(folder, clock, name)
        for number in range(5):
            noted.note(refusal(subject=f"POST /x/{number}"))
        noted.note(refusal(place="GET /y", subject="GET /y"))
        assert len(waiting) == 1  # written once, not for each
        waiting[0]()
    assert intake.take() == 2
    assert rows(store) == [("key:a", "POST /x/0", 10), ("key:a", "GET /y", 2)]
    assert list(folder.iterdir()) == []


def test_rows_of_who_goes_on_come_less_and_less_often_and_count_everything(store, folder, clock, intake):
    noted, _ = worker(folder, clock)
    for _ in range(600):
        noted.note(refusal())
        noted.write()
        intake.take()
        clock.advance(1.0)
    told = rows(store)
    assert 7 <= len(told) <= 9  # after 2, 4, 8, … seconds
    clock.advance(3600.0)
    intake.take()
    assert sum(times for *_, times in rows(store)) == 600
    # Whoever was quiet begins anew.
    clock.advance(8000.0)
    intake.take()
    noted.note(refusal())
    noted.write()
    assert intake.take() == 1


def test_nothing_is_told_twice_when_the_controller_dies_after_its_commit(store, folder, clock, monkeypatch):
    noted, _ = worker(folder, clock)
    noted.note(refusal())
    noted.write()
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            RefusalIntake(store, LineFolder(folder), clock, "n").take()
    assert len(list(folder.iterdir())) == 1
    clock.advance(60.0)
    RefusalIntake(store, LineFolder(folder), clock, "n").take()
    assert [times for *_, times in rows(store)] == [1]
    assert list(folder.iterdir()) == []


def test_what_is_held_back_survives_the_controller(store, folder, clock):
    noted, _ = worker(folder, clock)
    for _ in range(3):
        noted.note(refusal())
        noted.write()
        RefusalIntake(store, LineFolder(folder), clock, "n").take()
    assert [times for *_, times in rows(store)] == [1]
    clock.advance(5.0)
    RefusalIntake(store, LineFolder(folder), clock, "n").take()
    assert [times for *_, times in rows(store)] == [1, 2]


def test_a_flood_of_different_callers_is_bounded_and_counted(store, folder, clock, intake, monkeypatch):
    monkeypatch.setattr(noting, "MOST", 10)
    monkeypatch.setattr(taking, "MOST", 15)
    for name in "01":
        noted, _ = worker(folder, clock, name)
        for number in range(100):
            noted.note(refusal(actor=f"key:{name}-{number}"))
        noted.write()
    intake.take()
    told = rows(store)
    assert len(told) == 15
    assert sum(times for *_, times in told) == 200
    assert next(times for actor, _, times in told if actor == "several") == 186


def test_nobody_who_notes_waits_for_the_disk(store, folder, clock, intake):
    waiting, behind = [], []

    class Slow(LineFile):
        def append(self, lines):
            noted.note(refusal(place="GET /y"))  # comes while the disk takes its time, from another thread
            super().append(lines)

    noted = Refusals(Slow(folder, "0"), clock, lambda _, due: waiting.append(due), lambda work: len(behind) < 1 and not behind.append(work))
    noted.note(refusal())
    behind.append(None)  # too much waits for the disk already
    waiting.pop(0)()
    assert behind.pop() is None
    waiting.pop(0)()
    thread = threading.Thread(target=behind.pop(), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert intake.take() == 1
    assert len(waiting) == 1  # for what came meanwhile


def test_what_cannot_be_written_is_told_with_what_comes_later(store, folder, clock, intake, caplog):
    noted, waiting = worker(folder, clock)
    noted.note(refusal())
    place = folder.rename(folder.with_name("away"))
    waiting.pop(0)()
    assert "cannot be written down" in caplog.text
    noted.note(refusal())
    place.rename(folder)
    waiting.pop(0)()
    intake.take()
    assert [times for *_, times in rows(store)] == [2]


def test_half_a_line_of_a_killed_process_is_left_out(store, folder, clock, intake, caplog):
    line = msgspec.json.encode(refusal())
    (folder / "0.jsonl").write_bytes(line + b"\n" + line[:20])
    assert intake.take() == 1
    assert "damaged" in caplog.text


def test_a_clock_that_is_set_back_holds_nothing_back(store, folder, clock, intake):
    noted, _ = worker(folder, clock)
    for _ in range(2):
        noted.note(refusal())
        noted.write()
        intake.take()
        clock.set_back(1000.0)
    assert len(rows(store)) == 2


def test_entries_beyond_the_bound_are_counted_by_workspace():
    found = {}
    for number in range(5):
        gather(found, refusal(actor=f"key:{number}", workspace_id=number % 2), 2)
    assert sorted((entry.workspace_id, entry.why, entry.count) for entry in found.values()) == [
        (0, Why.ACTION, 1),
        (0, Why.MORE, 2),
        (1, Why.ACTION, 1),
        (1, Why.MORE, 1),
    ]

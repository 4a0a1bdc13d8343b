"""Predictions of files pass the gate: recorded, reserved before they compute, and waiting where a limit makes them."""

import numpy as np
import pytest

from gate_machine import Machine, grant, limit
from modelyard.core.clock import SystemClock
from modelyard.core.errors import InvalidData, JobFailed
from modelyard.core.limits import Measure, Window
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.journal import Journal
from modelyard.scoring.metering import Metered, Payer
from modelyard.store.segments import JournalReader
from modelyard.store.snapshot import SnapshotReader


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path, SystemClock(), workers=1)
    yield machine
    machine.close()


@pytest.fixture
def meter(machine, tmp_path):
    journal = Journal(tmp_path / "journal", bytes(16), 0, segment_bytes=8192)
    holder, limiter = SnapshotHolder(machine.snapshot), machine.workers[0]
    gate = Gate(holder, journal, SystemClock(), limiter)
    yield Metered(gate, limiter, holder, SnapshotReader(tmp_path / "snapshot"), Payer(grant(key_id=3), "churn", 7))
    journal.close()


def records(tmp_path):
    found = [segment.read(0).records for segment in JournalReader(tmp_path / "journal").segments()]
    return np.concatenate(found)


def test_every_few_rows_are_one_record_of_key_deployment_and_version(meter, tmp_path):
    assert meter.computed(100, lambda: "a") == "a"
    assert meter.computed(23, lambda: "b") == "b"
    found = records(tmp_path)
    assert found["rows"].tolist() == [100, 23]
    assert set(found["status"]) == {200}
    assert (set(found["key_id"]), set(found["deployment_id"]), set(found["version_id"])) == ({3}, {2}, {7})


def test_what_fails_is_recorded_without_rows(meter, tmp_path):
    def broken():
        raise InvalidData("no")

    with pytest.raises(InvalidData):
        meter.computed(5, broken)
    (record,) = records(tmp_path)
    assert (record["status"], record["rows"]) == (500, 0)


def test_a_limit_on_rows_makes_the_work_wait_for_the_next_window(meter, machine, tmp_path):
    machine.publish(limit(10, Measure.ROWS, Window.SECOND, subject_id=3))
    for _ in range(3):
        meter.computed(10, lambda: None)
    found = records(tmp_path)
    assert found["rows"].tolist() == [10, 10, 10]
    seconds = found["time_ns"] // 1_000_000_000
    assert len(set(seconds.tolist())) == 3, "no window held more than its amount"


def test_what_no_window_ever_holds_ends_the_job_in_a_sentence(meter, machine, tmp_path):
    machine.publish(limit(10, Measure.ROWS, Window.MINUTE, subject_id=3))
    with pytest.raises(JobFailed, match=r"needs 11 rows, and the limit is 10 rows/minute.*resume the job"):
        meter.computed(11, lambda: pytest.fail("it was computed"))
    (record,) = records(tmp_path)
    assert (record["status"], record["rows"]) == (429, 0)

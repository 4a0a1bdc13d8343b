"""The job's side, called in this process."""

import errno
import json
import sys
import types

import numpy as np
import pytest

from modelyard.core.errors import InvalidData
from modelyard.jobs.folder import JobFolder
from modelyard.jobs.worker import JobContext, run_job


@pytest.fixture
def kind(monkeypatch):
    module = types.ModuleType("pretend_kind")
    monkeypatch.setitem(sys.modules, "pretend_kind", module)

    def define(run):
        module.run = run
        return "pretend_kind:run"

    return define


@pytest.fixture
def folder(tmp_path):
    made = JobFolder(tmp_path / "7")
    made.prepare({"target": "y"}, attempt=1)
    return made


def test_result_is_written(folder, kind):
    (folder.inputs / "data.csv").write_text("a\n1\n")

    def run(context):
        assert context.spec == {"target": "y"}
        assert context.output.is_dir()
        return {"read": context.inputs["data.csv"].read_text(), "score": np.float64(0.5), "counts": np.array([1, 2])}

    assert run_job(folder.root, kind(run)) == 0
    assert folder.outcome().ok == {"read": "a\n1\n", "score": 0.5, "counts": [1, 2]}


def test_error_raised_on_purpose_is_told_in_full_and_without_a_traceback(folder, kind, caplog):
    def run(context):
        raise InvalidData("Column 'y' is missing.")

    assert run_job(folder.root, kind(run)) == 1
    assert (folder.outcome().error, folder.outcome().code) == ("Column 'y' is missing.", "invalid_data")
    assert "Traceback" not in caplog.text
    assert "Column 'y' is missing." in caplog.text


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("bad\nsecond line"), "ValueError: bad;"),
        (MemoryError(), "ran out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "found the disk full (No space left on device). Make room"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "FileNotFoundError"),
    ],
)
def test_other_errors_are_one_short_sentence(folder, kind, error, sentence):
    def run(context):
        raise error

    assert run_job(folder.root, kind(run)) == 1
    assert sentence in folder.outcome().error
    assert "Traceback" not in folder.outcome().error


def test_result_that_is_no_plain_data_is_an_error(folder, kind):
    assert run_job(folder.root, kind(lambda context: {"model": object()})) == 1
    assert "cannot hold a object" in folder.outcome().error


def test_kind_that_cannot_be_loaded_is_an_error(folder):
    assert run_job(folder.root, "no.such.module:run") == 1
    assert "ModuleNotFoundError" in folder.outcome().error


def test_reports_close_together_are_dropped(folder):
    context = JobContext({}, folder.root)
    for step in range(1000):
        context.report("fitting", step / 1000)
    context.report("storing", 0.99)
    context.report("storing", 1.0)
    lines = [json.loads(line) for line in folder.progress.read_text().splitlines()]
    assert len(lines) < 50
    assert lines[0]["stage"] == "fitting"
    assert [line["fraction"] for line in lines[-2:]] == [0.99, 1.0]


def test_second_attempt_starts_clean_but_keeps_the_log(folder):
    folder.log.write_text("first\n")
    folder.result.write_text("{}")
    (folder.output / "half").write_text("x")
    folder.prepare({}, attempt=2)
    assert folder.outcome() is None
    assert list(folder.output.iterdir()) == []
    assert folder.log.read_text() == "first\n--- attempt 2 ---\n"


def test_unreadable_result_counts_as_none(folder):
    folder.result.write_bytes(b"{")
    assert folder.outcome() is None

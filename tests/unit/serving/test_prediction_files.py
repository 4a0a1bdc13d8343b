"""The folder that workers and controller share."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serving.prediction_files import Outcome, PredictionFiles, Submission, new_id

MADE = Submission(id=new_id(1), workspace_id=3, key_id=1, deployment="d", body="{}", created_ns=1)
DONE = Outcome(id=MADE.id, workspace_id=3, deployment="d", status="succeeded", created_ns=1, finished_ns=2, result=msgspec.Raw(b"[1]"))


@pytest.fixture
def files(tmp_path):
    return PredictionFiles(tmp_path / "predictions")


def test_ids_sort_by_time_and_differ():
    ids = [new_id(second * 10**9) for second in range(1, 1000)]
    assert ids == sorted(ids)
    assert len({new_id(1) for _ in range(1000)}) == 1000
    assert len(new_id(2**70)) == 44


def test_an_empty_home_has_nothing(files):
    assert (files.pending(), files.forgotten(), files.find(3, MADE.id)) == ([], [], None)
    files.sweep(2**62)


def test_what_is_submitted_is_found_in_its_workspace_only(files):
    files.submit(MADE)
    assert files.find(3, MADE.id) == MADE
    assert files.find(4, MADE.id) is None
    assert files.pending() == [(3, MADE.id)]


def test_the_first_outcome_stays(files):
    files.submit(MADE)
    assert files.store(DONE) is DONE
    second = files.store(msgspec.structs.replace(DONE, status="failed"))
    assert (second.status, bytes(second.result)) == ("succeeded", b"[1]")
    assert files.find(3, MADE.id).status == "succeeded"
    files.done(3, MADE.id)
    files.done(3, MADE.id)
    assert files.pending() == []


def test_half_written_files_are_invisible_and_swept(files, tmp_path):
    files.submit(MADE)
    left = tmp_path / "predictions" / "3" / "spool" / f".{new_id(1)}.json.abcd"
    left.write_bytes(b"{")
    assert files.pending() == [(3, MADE.id)]
    files.sweep(1)
    assert left.exists()
    files.sweep(2**62)
    assert not left.exists()
    assert files.pending() == [(3, MADE.id)]


def test_files_are_for_the_owner_only(files, tmp_path):
    files.submit(MADE)
    assert (tmp_path / "predictions" / "3" / "spool").stat().st_mode & 0o077 == 0


@given(st.text(max_size=60))
def test_no_text_from_outside_reaches_the_file_system(tmp_path_factory, text):
    files = PredictionFiles(tmp_path_factory.getbasetemp())
    assert files.find(1, text) is None
    if len(text) != 44:
        with pytest.raises(ValueError, match="not the id"):
            files.forget(1, text)

"""Errands in the confined child: what it may not do, and how its end is told."""

import json
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import InvalidArtifact
from modelyard.engines.confined import Errand, run_confined
from modelyard.engines.confinement import why_not


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    given = tmp_path / "given"
    given.write_text("x")

    def call(work, seconds=30.0, stages=None):
        details = msgspec.Raw(json.dumps({"outside": str(outside), "given": str(given)}).encode())
        errand = Errand(work=f"confined_works:{work}", details=details, readable=(str(given),), seconds=seconds)
        told = stages.append if stages is not None else lambda _: None
        return run_confined(tmp_path / "parent" / "folder", errand, told, doing="Trying the model")

    return call


@pytest.mark.skipif(bool(why_not()), reason="this machine cannot confine")
def test_a_confined_child_reads_what_it_was_given_and_reaches_nothing_else(run):
    found = json.loads(run("look"))
    assert found["may"] == {
        "write outside": False,
        "read outside": False,
        "read what it was given": True,
        "write inside": True,
        "connect": False,
        "start a program": False,
        "signal its parent": False,
    }
    assert "Landlock" in found["held"]
    assert not found["heavy"]


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ("crash", r"Trying the model crashed its process \(SIGABRT\)"),
        ("leave", "Trying the model ended with status 7 and no answer"),
        ("fail", "RuntimeError: no luck with folder/model.onnx"),
        ("lie", "PermissionError"),
    ],
)
def test_the_end_of_a_child_is_told_in_one_sentence(run, work, sentence):
    with pytest.raises(InvalidArtifact, match=sentence):
        run(work)


def test_a_child_that_never_ends_is_ended(run):
    with pytest.raises(InvalidArtifact, match="Trying the model took longer than the 1 s it may"):
        run("spin", seconds=1.0)

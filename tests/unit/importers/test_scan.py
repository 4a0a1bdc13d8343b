import bz2
import gzip
import io
import lzma
import os
import pickle
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import estimators
from modelyard.core.errors import InvalidArtifact
from modelyard.importers.scan import scan
from modelyard.importers.spec import Verdict


class Calls:
    def __init__(self, function, *given):
        self.function, self.given = function, given

    def __reduce__(self):
        return self.function, self.given


def scanned(folder: Path, content: bytes, name="model.pkl"):
    (folder / name).write_bytes(content)
    return scan(folder, (name,))


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)], ids=str)
def test_a_joblib_file_is_followed_past_its_arrays(tmp_path, compress):
    joblib.dump([estimators.pipeline(), np.array(["a", None], object), Path("x")], tmp_path / "model.joblib", compress=compress)
    names = {finding.name for finding in scan(tmp_path, ("model.joblib",))}
    assert "sklearn.ensemble._forest.RandomForestClassifier" in names
    # Behind the last array of numbers, and behind the pickle inside an array of objects.
    assert any(name.startswith("pathlib.") for name in names)


@pytest.mark.parametrize(
    "payload",
    [
        Calls(os.system, "true"),
        Calls(subprocess.Popen, ["true"]),
        Calls(eval, "1"),
        Calls(exec, "pass"),
        Calls(getattr, "text", "upper"),
        Calls(open, "/etc/passwd"),
        Calls(__import__, "os"),
        {"deep": [Calls(os.popen, "true")]},
    ],
    ids=lambda payload: getattr(getattr(payload, "function", None), "__name__", "nested"),
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_what_would_run_something_is_refused_by_name(tmp_path, payload, protocol):
    with pytest.raises(InvalidArtifact, match="would call"):
        scanned(tmp_path, pickle.dumps(payload, protocol))


@pytest.mark.parametrize("squeeze", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_compression_hides_nothing(tmp_path, squeeze):
    with pytest.raises(InvalidArtifact, match=r"\.system"):
        scanned(tmp_path, squeeze(pickle.dumps(Calls(os.system, "true"))))


def test_names_put_together_on_the_stack_are_found(tmp_path):
    # Text from the memo, joined to a name only when it runs.
    program = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x04true\x85R."
    with pytest.raises(InvalidArtifact, match=r"posix\.system"):
        scanned(tmp_path, program)


def test_behind_an_array_of_objects_nothing_is_missed(tmp_path):
    stream = io.BytesIO()
    joblib.dump([np.array([Calls(os.system, "true")], object)], stream)
    with pytest.raises(InvalidArtifact, match="system"):
        scanned(tmp_path, stream.getvalue())


def test_scanning_runs_nothing(tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(InvalidArtifact):
        scanned(tmp_path, pickle.dumps(Calls(os.system, f"touch {mark}")))
    assert not mark.exists()


def test_unknown_names_are_told_and_known_ones_are_known(tmp_path):
    found = scanned(tmp_path, pickle.dumps([estimators.pipeline(), Path("x")]))
    verdicts = {finding.name: finding.verdict for finding in found}
    assert verdicts["sklearn.pipeline.Pipeline"] is Verdict.KNOWN
    assert Verdict.UNKNOWN in {verdict for name, verdict in verdicts.items() if name.startswith("pathlib")}


@given(st.binary(max_size=200))
def test_whatever_comes_is_scanned_or_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("scan")
    for head in (b"", b"\x80\x04", b"\x80\x02}"):
        with suppress(InvalidArtifact):
            scanned(folder, head + content)


@given(st.integers(0, 10_000))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, at):
    content = pickle.dumps(estimators.pipeline())
    with pytest.raises(InvalidArtifact):
        scanned(tmp_path_factory.mktemp("cut"), content[: at % (len(content) - 1)])

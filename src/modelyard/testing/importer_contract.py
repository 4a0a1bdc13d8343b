"""What every importer must do. Subclass ``ImporterContract`` with a ``case`` fixture of scope ``class``; ``imported`` runs the real job."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from modelyard.core.errors import InvalidArtifact, ModelyardError, PermissionDenied, Unsupported
from modelyard.core.tensors import Array
from modelyard.importers.brought import Brought
from modelyard.importers.job import run
from modelyard.importers.spec import Made
from modelyard.importers.table import recognise
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.detect import RUNTIMES

ORIGINAL = "original"


@dataclass(frozen=True)
class Case:
    """A real artifact of a format."""

    importer: str
    files: Mapping[str, bytes]
    inputs: dict[str, Array]
    """Rows for the converted model."""
    outputs: dict[str, Array]
    """What the original gives for them."""
    said: dict[str, Any] = field(default_factory=dict)
    """What must be said beside the files: signature, sample."""
    runs_code: bool = True
    unsupported: Mapping[str, bytes] = field(default_factory=dict)
    """For ``KeptContract``: a sound artifact that ONNX cannot say."""
    unsupported_reason: str = ""
    unsupported_inputs: dict[str, Array] = field(default_factory=dict)
    unsupported_outputs: dict[str, Array] = field(default_factory=dict)
    main: str = ""
    """The file to damage; the first by default."""


class Context:
    """A job's context on a folder."""

    def __init__(self, folder: Path, files: Mapping[str, bytes], said: Mapping[str, Any]) -> None:
        self.folder = folder
        self.stages: list[str] = []
        self.inputs: dict[str, Path] = {}
        self.output.mkdir(parents=True)
        (folder / "inputs").mkdir()
        for at, path in enumerate(sorted(files)):
            self._put(str(at), files[path])
        said = dict(said)
        if "sample" in said:
            self._put("sample", said.pop("sample"))
        digests = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
        self.spec: dict[str, Any] = {"model": "brought", "files": digests} | said

    def _put(self, name: str, content: bytes) -> None:
        self.inputs[name] = self.folder / "inputs" / name
        self.inputs[name].write_bytes(content)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def report(self, stage: str, fraction: float = -1.0, message: str = "") -> None:
        assert fraction <= 1.0
        self.stages.append(message or stage)


def imported(folder: Path, files: Mapping[str, bytes], **said: Any) -> list[Made]:
    """Runs the job on files; artifacts are in ``folder / "output"`` by their place."""
    return msgspec.convert(run(Context(folder, files, said))["made"], list[Made])


@dataclass(frozen=True)
class Conversion:
    """A case that was imported, with as much trust as it needs."""

    made: list[Made]
    artifact: Path


class ImporterContract:
    """The contract, as tests."""

    @pytest.fixture(scope="class")
    @classmethod
    def conversion(cls, case: Case, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
        folder = tmp_path_factory.mktemp("conversion") / "job"
        return Conversion(imported(folder, case.files, trust=case.runs_code, **case.said), folder / "output" / "0")

    def test_it_is_recognised_by_its_content(self, case: Case, tmp_path: Path) -> None:
        for path, content in case.files.items():
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        parts = recognise(Brought(tmp_path))
        assert {part.importer for part in parts} == {case.importer}
        assert all(part.title for part in parts)
        assert all(bool(part.runs_code) == case.runs_code for part in parts)

    def test_it_is_opened_without_trust_only_where_nothing_in_it_can_run(
        self, case: Case, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        if not case.runs_code:
            conversion: Conversion = request.getfixturevalue("conversion")  # made without trust
            assert conversion.made[0].outcome.format != ORIGINAL
            return
        with pytest.raises(PermissionDenied, match="--trust"):
            imported(tmp_path, case.files, **case.said)
        assert list((tmp_path / "output").iterdir()) == []

    def test_it_is_converted_proved_and_measured(self, case: Case, conversion: Conversion) -> None:
        (made,) = conversion.made
        outcome = made.outcome
        assert outcome.how
        assert outcome.environment
        assert outcome.proof["rows"] > 0
        assert outcome.before_us > 0
        assert outcome.after_us > 0
        model = RUNTIMES.get(outcome.format).load(conversion.artifact, outcome.entry, LoadOptions())
        model.signature.check_inputs(case.inputs)
        found = model.infer(case.inputs)
        model.close()
        _check(found, case.outputs)

    def test_a_damaged_file_is_refused_in_one_sentence(self, case: Case, tmp_path: Path) -> None:
        main = case.main or next(iter(case.files))
        damaged = {**case.files, main: case.files[main][: len(case.files[main]) * 2 // 3]}
        with pytest.raises(ModelyardError) as caught:
            imported(tmp_path, damaged, trust=case.runs_code, **case.said)
        assert isinstance(caught.value, InvalidArtifact | Unsupported)
        assert "Traceback" not in caught.value.message
        assert str(tmp_path) not in caught.value.message


class KeptContract:
    """What formats must do that can be served by their own library: the same ``case``, with ``unsupported`` and what is given for it."""

    def test_what_onnx_cannot_say_is_refused_with_the_reason(self, case: Case, tmp_path: Path) -> None:
        with pytest.raises(Unsupported if not case.runs_code else PermissionDenied, match="--trust") as caught:
            imported(tmp_path, case.unsupported, **case.said)
        if not case.runs_code:
            assert re.search(case.unsupported_reason, caught.value.message)

    def test_with_trust_its_own_library_serves_it_and_the_reason_is_kept(self, case: Case, tmp_path: Path) -> None:
        (made,) = imported(tmp_path, case.unsupported, trust=True, **case.said)
        outcome = made.outcome
        assert outcome.format == ORIGINAL
        assert re.search(case.unsupported_reason, outcome.reason)
        assert outcome.after_us > 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what libraries warn of is theirs
            model = RUNTIMES.get(ORIGINAL).load(tmp_path / "output" / "0", outcome.entry, LoadOptions())
            model.signature.check_inputs(case.unsupported_inputs)
            _check(model.infer(case.unsupported_inputs), case.unsupported_outputs)
            model.close()


def _check(found: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    for name, wanted in outputs.items():
        if wanted.dtype.kind == "f":
            given = found[name].reshape(wanted.shape).astype(np.float64)
            np.testing.assert_allclose(given, wanted.astype(np.float64), rtol=1e-3, atol=1e-4)
        else:
            assert [str(item) for item in found[name].reshape(-1).tolist()] == [str(item) for item in wanted.reshape(-1).tolist()]

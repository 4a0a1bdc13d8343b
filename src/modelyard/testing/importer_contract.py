"""What every importer must do. Subclass ``ImporterContract`` and give it a ``case`` fixture; ``imported`` runs the real job."""

from __future__ import annotations

import hashlib
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
    unsupported: Mapping[str, bytes] | None = None
    """A sound artifact that ONNX cannot say; None where the format has no such thing."""
    unsupported_reason: str = ""
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


class ImporterContract:
    """The contract, as tests."""

    def test_it_is_recognised_by_its_content(self, case: Case, tmp_path: Path) -> None:
        for path, content in case.files.items():
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        parts = recognise(Brought(tmp_path))
        assert {part.importer for part in parts} == {case.importer}
        assert all(part.title for part in parts)
        assert all(bool(part.runs_code) == case.runs_code for part in parts)

    def test_it_is_not_opened_without_trust_where_that_runs_code(self, case: Case, tmp_path: Path) -> None:
        if not case.runs_code:
            pytest.skip("nothing in this format can run")
        with pytest.raises(PermissionDenied, match="--trust"):
            imported(tmp_path, case.files, **case.said)
        assert list((tmp_path / "output").iterdir()) == []

    def test_it_is_converted_proved_and_measured(self, case: Case, tmp_path: Path) -> None:
        (made,) = imported(tmp_path, case.files, trust=case.runs_code, **case.said)
        outcome = made.outcome
        assert outcome.how
        assert outcome.environment
        assert outcome.proof["rows"] > 0
        assert outcome.before_us > 0
        assert outcome.after_us > 0
        model = RUNTIMES.get(outcome.format).load(tmp_path / "output" / "0", outcome.entry, LoadOptions())
        model.signature.check_inputs(case.inputs)
        found = model.infer(case.inputs)
        model.close()
        for name, wanted in case.outputs.items():
            if wanted.dtype.kind == "f":
                given = found[name].reshape(wanted.shape).astype(np.float64)
                np.testing.assert_allclose(given, wanted.astype(np.float64), rtol=1e-3, atol=1e-4)
            else:
                assert [str(item) for item in found[name].reshape(-1).tolist()] == [str(item) for item in wanted.reshape(-1).tolist()]

    def test_a_damaged_file_is_refused_in_one_sentence(self, case: Case, tmp_path: Path) -> None:
        main = case.main or next(iter(case.files))
        damaged = {**case.files, main: case.files[main][: len(case.files[main]) * 2 // 3]}
        with pytest.raises(ModelyardError) as caught:
            imported(tmp_path, damaged, trust=case.runs_code, **case.said)
        assert isinstance(caught.value, InvalidArtifact | Unsupported)
        assert "Traceback" not in caught.value.message
        assert str(tmp_path) not in caught.value.message

    def test_what_onnx_cannot_say_is_refused_with_the_reason(self, case: Case, tmp_path: Path) -> None:
        if case.unsupported is None:
            pytest.skip("everything of this format can be said")
        with pytest.raises(Unsupported, match=case.unsupported_reason):
            imported(tmp_path, case.unsupported, trust=case.runs_code, **case.said)

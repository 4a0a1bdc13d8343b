"""A machine that cannot confine: what can run code is refused there, unless its administrator accepts that."""

from __future__ import annotations

import joblib
import pytest

from modelyard.control import registering
from modelyard.core.errors import Unsupported
from modelyard.importers import job
from modelyard.testing.importer_contract import imported

REASON = "the kernel has no Landlock"


class Reached(Exception):
    """The child that opens a model would be started."""


@pytest.fixture
def pickled(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "why_not", lambda: REASON)
    monkeypatch.setattr(registering, "why_not", lambda: REASON)

    def convert(*_):
        raise Reached

    monkeypatch.setattr(job, "convert", convert)
    path = tmp_path / "model.joblib"
    joblib.dump({"coef": 1.0}, path)
    return {"model.joblib": path.read_bytes()}


def test_a_format_that_can_run_code_is_not_opened(pickled, tmp_path):
    with pytest.raises(Unsupported, match=f"cannot confine it: {REASON}.*MODELYARD_IMPORT_UNCONFINED"):
        imported(tmp_path / "job", pickled, trust=True)
    with pytest.raises(Reached):
        imported(tmp_path / "accepted", pickled, trust=True, unconfined=True)


def test_a_program_is_not_registered(pickled):
    with pytest.raises(Unsupported, match=f"'python' .*cannot confine it: {REASON}"):
        registering._check_confinable("python", unconfined=False)
    registering._check_confinable("python", unconfined=True)
    registering._check_confinable("onnx", unconfined=False)

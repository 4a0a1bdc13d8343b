"""Artifacts that mean harm are refused one by one, each with a sentence, and nothing of them runs, even for who holds ``trust``."""

from __future__ import annotations

import pytest

import hostile
from modelyard.core.errors import InvalidArtifact, ModelyardError, Unsupported
from modelyard.testing.importer_contract import imported


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", list(hostile.CORPUS))
def test_it_is_refused_with_a_sentence_and_nothing_of_it_runs(name, tmp_path):
    canary = tmp_path / "canary"
    files = hostile.plant(canary, name)
    with pytest.raises(ModelyardError) as caught:
        imported(tmp_path / "job", files, trust=True, **hostile.CORPUS[name].said)
    assert isinstance(caught.value, InvalidArtifact | Unsupported)
    message = caught.value.message
    assert hostile.CORPUS[name].sentence in message
    assert 20 < len(message) < 800
    assert "Traceback" not in message
    assert str(tmp_path / "job") not in message
    assert not canary.exists()
    # Whatever an archive holds, nothing of it lies beside its own folder.
    assert {path.name for path in tmp_path.iterdir()} == {"job"}
    assert list((tmp_path / "job" / "output").iterdir()) == []

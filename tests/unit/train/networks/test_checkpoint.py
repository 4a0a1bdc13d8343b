import errno
from pathlib import Path

import pytest
import torch

from modelyard.train.networks.checkpoint import Checkpoints


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path, "mine", 0.0)


def test_the_two_newest_are_kept_and_the_newest_is_loaded(checkpoints, tmp_path):
    for step in (1, 20, 300):
        checkpoints.save(step, {"weights": torch.tensor([float(step)])})
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoints.load()["weights"].item() == 300


def test_a_damaged_one_falls_back_to_the_one_before(checkpoints, tmp_path):
    for step in (1, 2):
        checkpoints.save(step, {"weights": torch.tensor([float(step)])})
    newest = max(tmp_path.iterdir())
    for damage in (newest.read_bytes()[:-100], newest.read_bytes()[:200] + b"x" + newest.read_bytes()[201:], b""):
        newest.write_bytes(damage)
        assert checkpoints.load()["step"] == 1


def test_a_full_disk_leaves_the_one_before(checkpoints, tmp_path, monkeypatch):
    assert checkpoints.save(1, {"weights": torch.ones(1)})
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **o: _Full(opened(self, *a, **o)) if self.suffix == ".part" else opened(self, *a, **o)
    )
    assert not checkpoints.save(2, {"weights": torch.zeros(1)})
    monkeypatch.undo()
    assert checkpoints.load()["step"] == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".checkpoint"]


class _Full:
    """A file on a full disk."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_those_of_another_training_are_not_used(tmp_path):
    Checkpoints(tmp_path, "other", 0.0).save(5, {})
    assert Checkpoints(tmp_path, "mine", 0.0).load() is None

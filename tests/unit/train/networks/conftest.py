import pytest
import torch

from modelyard.train.networks.architectures.tables import feedforward
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.loop import Learner
from modelyard.train.networks.objectives import Classes
from modelyard.train.recipes.learning import Learning
from points import Points


@pytest.fixture
def points():
    return Points()


@pytest.fixture
def learner(tmp_path):
    """A learner on a small network with dropout; its checkpoints outlive it."""

    def _learner(folder="state", seconds=0.0, objective=None, hidden=(8,), dropout=0.2, **learning):
        torch.manual_seed(3)
        module = feedforward(4, list(hidden), 2, dropout)
        chosen = Learning.model_validate({"epochs": 5, "batch_size": 16, "patience": None} | learning)
        checkpoints = Checkpoints(tmp_path / folder, "f", seconds)
        return Learner(module, objective or Classes(), chosen, choose_device(chosen.precision), checkpoints, seed=1)

    return _learner

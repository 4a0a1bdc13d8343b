import numpy as np
import pytest
import torch

from modelyard.train.networks.architectures.tables import feedforward
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.loop import Learner
from modelyard.train.networks.objectives import Classes
from modelyard.train.recipes.learning import Learning


class Points:
    """Two clouds of points; while learning they are shaken, so that randomness matters."""

    def __init__(self, count=120, seed=0):
        random = np.random.default_rng(seed)
        self.labels = torch.from_numpy(random.integers(0, 2, count))
        self.points = torch.from_numpy(random.normal(size=(count, 4)).astype(np.float32)) + self.labels[:, None] * 1.5
        self.stop_after = None
        self.asked = 0

    def __len__(self):
        return len(self.labels)

    def batch(self, rows, random):
        if random is not None:
            self.asked += 1
            if self.stop_after is not None and self.asked > self.stop_after:
                raise KeyboardInterrupt
        rows = torch.from_numpy(rows)
        shaken = self.points[rows]
        if random is not None:
            shaken = shaken + torch.randn(shaken.shape, generator=random) * 0.1
        return (shaken,), self.labels[rows]


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

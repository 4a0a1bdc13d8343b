"""A small network that several workers learn."""

import torch
from torch import nn

from modelyard.engines.cluster import Cluster
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.lesson import Lesson, Site, learn
from modelyard.train.networks.objectives import Classes
from modelyard.train.recipes.learning import Learning
from points import Points


def network():
    """With batch norms, and with blocks large enough to be sharded by themselves."""
    torch.manual_seed(3)
    blocks = [nn.Sequential(nn.Linear(4, 400, bias=False), nn.BatchNorm1d(400), nn.ReLU()), nn.Sequential(nn.Linear(400, 300), nn.ReLU())]
    return nn.Sequential(*blocks, nn.Linear(300, 2))


def train_points(place, train, cluster=None, **wanted):
    """Trains with a checkpoint after every step; the module, how it went, and what was reported."""
    learning = Learning.model_validate({"epochs": 3, "patience": None, "checkpoint_seconds": 0} | wanted)
    told = []
    lesson = Lesson(network(), Classes(), train, Points(50, seed=1), seed=1)
    checkpoints = Checkpoints(place / "state", "f", learning.checkpoint_seconds)
    site = Site(place / "team", cluster or Cluster())
    fit = learn(lesson, learning, choose_device("auto"), checkpoints, site=site, report=lambda *said: told.append(said))
    return lesson.module, fit, told


def same(module, other, **tolerance):
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)

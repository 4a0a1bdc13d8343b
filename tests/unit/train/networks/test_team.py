import torch
from torch import nn

from modelyard.train.networks.team import Alone, settle


class Pair(Alone):
    """One of two members, the other of which sends ``theirs``."""

    size = 2

    def __init__(self, theirs):
        self._theirs = theirs

    def total(self, values):
        return values + self._theirs


def norms():
    """Two that remember, in different depths, and one that does not."""
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False)))


def memory(module):
    return [values for norm in (module[1], module[2][0]) for values in (norm.running_mean, norm.running_var)]


def test_what_two_members_norms_remember_becomes_its_mean_and_nothing_else_changes():
    mine, theirs = norms(), norms()
    for module in (mine, theirs):
        module[1](torch.randn(16, 3) * 2 + 1)
        module[2][0](torch.randn(16, 2))
    remembered = [[values.clone() for values in memory(module)] for module in (mine, theirs)]
    weights = [weight.clone() for weight in mine.parameters()]
    settle(mine, Pair(torch.cat(remembered[1])))
    for values, own, other in zip(memory(mine), *remembered, strict=True):
        torch.testing.assert_close(values, (own + other) / 2)
        assert not torch.equal(own, other)
    assert all(torch.equal(weight, before) for weight, before in zip(mine.parameters(), weights, strict=True))


def test_a_module_without_norms_is_exchanged_with_nobody():
    settle(nn.Linear(2, 2), Pair(None))

"""Norms over all members; with one member they are PyTorch's. With two: ``tests/integration/train/test_workers.py``."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import FileStore

from modelyard.train.networks.distributed.norms import SharedBatchNorm


@pytest.fixture
def group(tmp_path):
    dist.init_process_group("gloo", store=FileStore(str(tmp_path / "meeting"), 1), rank=0, world_size=1)
    yield dist.new_group()
    dist.destroy_process_group()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "channels-last"])
def test_one_member_normalizes_as_pytorch_does_whatever_the_layout(group, layout, affine):
    torch.manual_seed(0)
    own = nn.BatchNorm2d(3, affine=affine)
    shared = SharedBatchNorm(nn.BatchNorm2d(3, affine=affine), group)
    values = torch.randn(6, 3, 4, 5).mul(2).add(5)
    wanted = torch.randn(6, 3, 4, 5)
    found = []
    for norm in (own, shared):
        given = values.clone().to(memory_format=layout).requires_grad_()
        made = norm(given)
        (made * wanted).sum().backward()
        found.append([made, given.grad, norm.running_mean, norm.running_var, *(weight.grad for weight in norm.parameters())])
    assert len(found[0]) == (6 if affine else 4)
    for ours, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

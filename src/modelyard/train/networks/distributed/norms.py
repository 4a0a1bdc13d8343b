"""Batch norms over all members' rows, on the CPU too, where PyTorch's own needs a GPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """The sum over all members, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:
        context.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total, group=context.group)
        return total, None


class SharedBatchNorm(_BatchNorm):
    """A batch norm that takes mean and variance over the rows of all members, one exchange a pass."""

    def __init__(self, own: _BatchNorm, group: dist.ProcessGroup) -> None:
        super().__init__(own.num_features, own.eps, own.momentum, own.affine, own.track_running_stats)
        self._parameters, self._buffers = own._parameters, own._buffers
        self._group = group

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  # PyTorch's name
        if input.dim() < 2:
            raise ValueError(f"A batch norm takes rows of channels, not {input.dim()} dimensions.")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # PyTorch's name
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        values = input.float()
        mean, variance, count = self._statistics(values, axes)
        with torch.no_grad():
            self._track(mean, variance, count)
        scaled = (values - mean.reshape(shape)) * torch.rsqrt(variance + self.eps).reshape(shape)
        if self.affine:
            scaled = scaled * self.weight.reshape(shape) + self.bias.reshape(shape)
        return scaled.to(input.dtype)

    def _statistics(self, values: Tensor, axes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Over all members: each sends its own mean and deviations from it, because sums of squares lose digits."""
        own_mean = values.mean(axes)
        around = values - own_mean.reshape([1, -1, *[1] * (values.dim() - 2)])
        count = values.new_full((1,), values.numel() / values.shape[1])
        table = values.new_zeros((self._group.size(), 2 * self.num_features + 1))
        row = torch.arange(self._group.size(), device=values.device)[:, None] == self._group.rank()
        table = torch.where(row, torch.cat([own_mean, around.square().sum(axes), count]), table)
        found: Tensor = _Sum.apply(table, self._group)  # type: ignore[no-untyped-call]  # PyTorch's
        means, squares, counts = torch.split(found, [self.num_features, self.num_features, 1], dim=1)
        total = counts.sum()
        mean = (means * counts).sum(0) / total
        variance = (squares + counts * (means - mean).square()).sum(0) / total
        return mean, variance, total.detach()

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        rate = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance * count / (count - 1), rate)


def share_norms(module: nn.Module, group: dist.ProcessGroup) -> nn.Module:
    """The module with its batch norms over all members' rows; their weights keep their names."""
    if isinstance(module, _BatchNorm):
        return SharedBatchNorm(module, group)
    for name, inner in module.named_children():
        setattr(module, name, share_norms(inner, group))
    return module

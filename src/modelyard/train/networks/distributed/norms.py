"""Batch norms over all members' rows, on the CPU too, where PyTorch's own needs a GPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class _Normalize(torch.autograd.Function):
    """Values by channel, less their mean over all members and by their deviation: two exchanges, and PyTorch's own passes over the values.

    Gives mean, variance and number of rows too.
    """

    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor, bias: Tensor, how: tuple[float, dist.ProcessGroup]) -> tuple[Tensor, ...]:
        epsilon, group = how
        mean, variance, count = _statistics(values, group)
        context.save_for_backward(values, weight, mean, variance, count)
        context.epsilon, context.group = epsilon, group
        context.mark_non_differentiable(mean, variance, count)
        return functional.batch_norm(values, mean, variance, weight, bias, training=False, eps=epsilon), mean, variance, count

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, variance, count = context.saved_tensors
        epsilon, scale = context.epsilon, torch.rsqrt(variance + context.epsilon)
        # In the layout of the values: PyTorch takes ten times as long where the two differ.
        gradient = gradients[0] if gradients[0].stride() == values.stride() else torch.empty_like(values).copy_(gradients[0])
        # What it would be with this member's sums alone, and then what the others' change in it.
        found, along, sums = torch.ops.aten.native_batch_norm_backward(
            gradient, values, weight, None, None, mean, scale, True, epsilon, [True, True, True]
        )
        own = torch.stack([along, sums])
        total = own.clone()
        dist.all_reduce(total, group=context.group)
        change = scale * weight * (own / (values.numel() / len(mean)) - total / count)
        found += functional.batch_norm(values, mean, variance, change[0], change[1], training=False, eps=epsilon)
        return found, along, sums, None


def _statistics(values: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number of the values of each channel, over all members.

    Each sends its own mean and deviations from it, because sums of squares lose digits.
    """
    channels = values.shape[1]
    rows = values.numel() / channels
    # Four times as quick as ``var_mean`` over these axes on a CPU.
    own_mean, own_variance = torch.batch_norm_update_stats(values, None, None, 0.0)
    table = values.new_zeros((group.size(), 2 * channels + 1))
    table[group.rank()] = torch.cat([own_mean, own_variance * rows, values.new_full((1,), rows)])
    dist.all_reduce(table, group=group)
    means, squares, counts = torch.split(table, [channels, channels, 1], dim=1)
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    variance = (squares + counts * (means - mean).square()).sum(0) / total
    return mean, variance, total


class SharedBatchNorm(_BatchNorm):
    """A batch norm that takes mean and variance over the rows of all members."""

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
        values = input.float()
        weight = self.weight if self.affine else values.new_ones(self.num_features)
        bias = self.bias if self.affine else values.new_zeros(self.num_features)
        scaled, mean, variance, count = _Normalize.apply(values, weight, bias, (self.eps, self._group))  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self._track(mean, variance, count)
        found: Tensor = scaled.to(input.dtype)
        return found

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

"""Teams of several processes: every one with the whole network (DDP), or with a share of it (FSDP2)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from modelyard.train.networks.device import Device
from modelyard.train.networks.distributed.norms import share_norms
from modelyard.train.networks.team import State, Whole

_SHARD_WEIGHTS = 100_000
"""Smaller parts are sharded with what they are in: each exchange costs more than it saves."""


class Group(Whole):
    """Members that each hold the whole network; see ``Team``. Needs PyTorch's process group."""

    def __init__(self, device: Device, *, shared_norms: bool) -> None:
        self._device, self._shared_norms = device, shared_norms
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._norms = dist.new_group()

    def wrap(self, module: nn.Module) -> nn.Module:
        place = [torch.cuda.current_device()] if self._device.kind == "cuda" else None
        # Buffers are not exchanged in steps: those of shared norms are alike, and of others ``settle`` takes the means.
        return DistributedDataParallel(self._normed(module), device_ids=place, forward_sync_buffers=False)

    def _normed(self, module: nn.Module) -> nn.Module:
        return share_norms(module, self._norms) if self._shared_norms else module

    def total(self, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    def gathering(self, wrapped: nn.Module, *, now: bool) -> AbstractContextManager[object]:
        if now or not isinstance(wrapped, DistributedDataParallel):
            return nullcontext()
        held: AbstractContextManager[object] = wrapped.no_sync()
        return held


class ShardedGroup(Group):
    """Members that each hold a share of weights, gradients and the optimizer's memory."""

    _WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)

    def wrap(self, module: nn.Module) -> nn.Module:
        mesh = init_device_mesh(self._device.kind, (self.size,))
        module = self._normed(module)
        for part in _parts(module):
            fully_shard(part, mesh=mesh)
        fully_shard(module, mesh=mesh)
        return module

    def gathering(self, wrapped: nn.Module, *, now: bool) -> AbstractContextManager[object]:
        if isinstance(wrapped, FSDPModule):
            wrapped.set_requires_gradient_sync(now)
        return nullcontext()

    def weights(self, module: nn.Module) -> State:
        return get_model_state_dict(module, options=self._WHOLE)

    def memory(self, module: nn.Module, optimizer: Optimizer) -> State:
        found: dict[str, Any] = get_optimizer_state_dict(module, optimizer, options=self._WHOLE)
        return found

    def restore(self, module: nn.Module, weights: State, optimizer: Optimizer | None = None, memory: State | None = None) -> None:
        # The dicts are changed in place; member 0 has the whole, and the others get their shares from it.
        options = StateDictOptions(full_state_dict=True, cpu_offload=False, broadcast_from_rank0=True)
        set_model_state_dict(module, dict(weights) if self.rank == 0 else {}, options=options)
        if optimizer is not None and memory is not None:
            set_optimizer_state_dict(module, optimizer, dict(memory) if self.rank == 0 else {}, options=options)


def _parts(module: nn.Module) -> list[nn.Module]:
    """What is sharded apart from the rest: the entries of lists of blocks that are large enough, inner ones first."""
    lists = [inner for inner in module.modules() if isinstance(inner, (nn.ModuleList, nn.Sequential))]
    blocks = [block for inner in reversed(lists) for block in inner if not isinstance(block, nn.ModuleList)]
    return [block for block in blocks if sum(weight.numel() for weight in block.parameters()) >= _SHARD_WEIGHTS]

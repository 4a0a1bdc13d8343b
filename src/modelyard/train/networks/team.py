"""The seam between the loop and the other processes that learn the same network."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

State = dict[str, Any]


class Team(Protocol):
    """The processes that learn together, as one of them sees it.

    All members call the same methods in the same order; each may wait for the others. A gradient is the mean over the members, so that a
    loss must be ``size`` times a member's part of the whole.
    """

    @property
    def rank(self) -> int:
        """This member's number; 0 tells, and keeps checkpoints."""

    @property
    def size(self) -> int: ...

    def wrap(self, module: nn.Module) -> nn.Module:
        """What passes of training go through; the module itself may be changed."""

    def total(self, values: Tensor) -> Tensor:
        """The sum over all members, the same in each."""

    def gathering(self, wrapped: nn.Module, *, now: bool) -> AbstractContextManager[object]:
        """Within it a backward pass adds to the gradients; with ``now`` those of all members are brought together."""

    def weights(self, module: nn.Module) -> State:
        """All of the module's state, on the CPU; only member 0 can rely on its being there."""

    def memory(self, module: nn.Module, optimizer: Optimizer) -> State:
        """All of the optimizer's state, likewise."""

    def restore(self, module: nn.Module, weights: State, optimizer: Optimizer | None = None, memory: State | None = None) -> None:
        """Puts whole states back, of which every member has a copy unless it had none to begin with.

        Raises ValueError or KeyError when the memory is of another optimizer.
        """


class Whole:
    """The states of a network that every member has the whole of."""

    def weights(self, module: nn.Module) -> State:
        return {name: value.detach().cpu() for name, value in module.state_dict().items()}

    def memory(self, module: nn.Module, optimizer: Optimizer) -> State:
        del module
        return optimizer.state_dict()

    def restore(self, module: nn.Module, weights: State, optimizer: Optimizer | None = None, memory: State | None = None) -> None:
        module.load_state_dict(weights)
        if optimizer is not None and memory is not None:
            optimizer.load_state_dict(memory)


class Alone(Whole):
    """One process."""

    rank, size = 0, 1

    def wrap(self, module: nn.Module) -> nn.Module:
        return module

    def total(self, values: Tensor) -> Tensor:
        return values

    def gathering(self, wrapped: nn.Module, *, now: bool) -> AbstractContextManager[object]:
        del wrapped, now
        return nullcontext()


def share_of(rows: NDArray[np.intp], team: Team) -> NDArray[np.intp]:
    """A member's part of a batch; all members' parts are the batch."""
    return rows if team.size == 1 else np.array_split(rows, team.size)[team.rank]


def settle(module: nn.Module, team: Team) -> None:
    """Makes alike what norms of the members' own remember: their means.

    A mean, because it is the same whenever and however often it is taken: a training that goes on ends with what it would have had.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    apart = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
    if apart:
        together = team.total(torch.cat([buffer.flatten() for buffer in apart])) / team.size
        for buffer, values in zip(apart, torch.split(together, [buffer.numel() for buffer in apart]), strict=True):
            buffer.copy_(values.view_as(buffer))

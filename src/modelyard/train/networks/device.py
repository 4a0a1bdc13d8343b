"""Where a network is trained, and how precisely."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from modelyard.core.errors import Unsupported
from modelyard.train.cores import cores

_WORTH_SHARING = 200_000_000
"""Operations in one pass of a batch, from which on threads bring more than they cost."""


@dataclass(frozen=True)
class Device:
    """A device with a way of computing on it."""

    name: str
    half: torch.dtype | None = None
    """What sums are made in where half precision will do."""

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def scales(self) -> bool:
        """Whether gradients must be scaled lest they vanish."""
        return self.half is torch.float16

    @property
    def title(self) -> str:
        return f"{self.name}, {str(self.half or torch.float32).removeprefix('torch.')}"

    def precision(self) -> AbstractContextManager[object]:
        """The context in which the network is run."""
        return nullcontext() if self.half is None else torch.autocast(self.kind, self.half)


def choose_device(precision: str) -> Device:
    """The GPU that the job was given, else the CPU, with all cores that the job may use.

    Raises Unsupported for a precision that the device has not.
    """
    torch.set_num_threads(cores())
    if torch.cuda.is_available():
        torch.backends.cudnn.deterministic = True
        if precision == "auto":
            precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        return Device("cuda", None if precision == "float32" else getattr(torch, precision))
    if precision == "float16":
        raise Unsupported("The precision float16 needs a GPU, and the job has none; set learning.precision to auto, or ask for a GPU.")
    return Device("cpu", torch.bfloat16 if precision == "bfloat16" else None)


def fit_threads(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Lets as many threads work as bring something for batches like this one, and says how many.

    Small sums are quicker on one core; the choice depends on the network alone, so that sums are made in the same order every time.
    """
    module.eval()
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        module(*inputs)
    threads = cores() if counted.get_total_flops() >= _WORTH_SHARING else 1
    torch.set_num_threads(threads)
    return threads

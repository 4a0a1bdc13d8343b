"""Steps: the optimizer, and the learning rate at every one of them."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim import Optimizer as TorchOptimizer

from modelyard.train.recipes.learning import Learning, Optimizer, Schedule


def make_optimizer(module: nn.Module, wanted: Optimizer) -> TorchOptimizer:
    """Matrices decay; biases, and the scales and shifts of norms, do not. What takes no gradient stays."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    decaying = [weight for weight in learning if weight.ndim > 1]
    others = [weight for weight in learning if weight.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": wanted.l2}, {"params": others, "weight_decay": 0.0}]
    if wanted.kind == "sgd":
        return SGD(groups, lr=wanted.learning_rate, momentum=wanted.momentum)
    # On a CPU one pass over each weight, where PyTorch's own choice makes a dozen; shares of weights are left to that.
    fused = all(weight.device.type == "cpu" and not hasattr(weight, "full_tensor") for weight in learning) or None
    return (Adam if wanted.kind == "adam" else AdamW)(groups, lr=wanted.learning_rate, betas=wanted.betas, fused=fused)


def learning_rate(learning: Learning, step: int, steps_an_epoch: int) -> float:
    """The rate of a step, counted from 0 over all epochs."""
    schedule, base = learning.schedule, learning.optimizer.learning_rate
    total = learning.epochs * steps_an_epoch
    warm = round(schedule.warmup * total)
    if step < warm:
        return base * (step + 1) / (warm + 1)
    return base * _falling(schedule, (step - warm) / max(1, total - warm), step // steps_an_epoch)


def _falling(schedule: Schedule, share: float, epoch: int) -> float:
    if schedule.kind == "linear":
        return 1.0 - share
    if schedule.kind == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * share))
    return schedule.factor ** (epoch // schedule.every) if schedule.kind == "step" else 1.0

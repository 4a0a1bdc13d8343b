"""The loop: epochs, batches and steps, with the best epoch kept, and able to go on from a checkpoint as if nothing had happened.

Every step takes its randomness (which rows, how they are varied, what is dropped out) from the seed and its own number alone, so a
training that goes on makes the very steps that it would have made.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modelyard.core.errors import JobFailed
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import Device, fit_threads
from modelyard.train.networks.objectives import Objective
from modelyard.train.networks.stepping import learning_rate, make_optimizer
from modelyard.train.recipes.learning import Learning

logger = logging.getLogger(__name__)
Report = Callable[[float, str], None]
Step = Callable[[int, float], None]
"""Is told an epoch and its validation loss."""
_STEPS_BETWEEN_LOOKS = 25
"""On a GPU, where looking at a loss waits for it."""


class Examples(Protocol):
    """Rows that a network learns from, or is judged on."""

    def __len__(self) -> int: ...

    def batch(self, rows: NDArray[np.intp], random: torch.Generator | None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Inputs and targets of some rows; varied at random where a generator comes."""


@dataclass
class Progress:
    """Where a training stands; everything in it but the network itself."""

    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Steps done within the next one."""
    loss: float = 0.0
    """Sum over the rows of this epoch so far."""
    rows: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry an epoch."""


@dataclass(frozen=True)
class Fit:
    """How a training went. The network holds the weights of its best epoch."""

    history: list[dict[str, float]]
    best_epoch: int
    stopped_early: bool
    resumed_at: int
    """Epochs that an earlier attempt had done."""


class Learner:
    """Trains one network."""

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        learning: Learning,
        device: Device,
        checkpoints: Checkpoints | None,
        *,
        seed: int,
        step: Step | None = None,
    ) -> None:
        """``step`` is told each epoch's validation loss, and may raise to give the training up.

        Without ``checkpoints`` nothing is kept, and nothing logged.
        """
        self.module = module.to(device.name)
        self._objective, self._learning, self._device, self._checkpoints, self._seed = objective, learning, device, checkpoints, seed
        self._optimizer = make_optimizer(self.module, learning.optimizer)
        self._judged = step
        self._scaler = torch.amp.GradScaler(device.name, enabled=device.scales)
        self._progress = Progress()
        self._best: dict[str, Tensor] = {}

    def fit(self, train: Examples, validate: Examples, report: Report) -> Fit:
        """Runs to the last epoch, or until nothing has got better for as long as the recipe says.

        Raises JobFailed when the loss is no number any more; the last good checkpoint stays.
        """
        if self._device.name == "cpu":
            sample, _ = train.batch(np.arange(min(len(train), self._learning.batch_size), dtype=np.intp), None)
            self._tell("%d thread(s)", fit_threads(self.module, sample))
        done = self._resume()
        now, learning = self._progress, self._learning
        while now.epoch < learning.epochs and not self._stale:
            began = time.perf_counter()
            self._epoch(train, report)
            entry = {"epoch": now.epoch + 1, "loss": now.loss / now.rows} | self.judge(validate)
            entry |= {"learning_rate": self._rate(len(train), now.epoch, now.step - 1), "seconds": time.perf_counter() - began}
            self._close_epoch(entry)
            if self._judged is not None:
                self._judged(now.epoch, entry["validation_loss"])
            told = f"epoch {now.epoch} of {learning.epochs}: loss {entry['loss']:.4g}, validation loss {entry['validation_loss']:.4g}"
            score = self._objective.score_name
            self._tell("%s, %s %.4g (%.1f s)", told, score, entry[f"validation_{score}"], entry["seconds"])
            report(now.epoch / learning.epochs, told)
            if self._due:
                self._save(len(train))
        self.module.load_state_dict(self._best)
        self.module.eval()
        return Fit(now.history, now.best_epoch, stopped_early=now.epoch < learning.epochs, resumed_at=done)

    def judge(self, examples: Examples) -> dict[str, float]:
        """Mean loss and score on some rows, as they are."""
        loss = score = 0.0
        self.module.eval()
        with torch.inference_mode():
            for rows in _cut(np.arange(len(examples), dtype=np.intp), self._learning.batch_size):
                outputs, targets = self._run(*examples.batch(rows, None))
                loss += float(self._objective.losses(outputs, targets).sum())
                score += self._objective.score(outputs, targets)
        return {"validation_loss": loss / len(examples), f"validation_{self._objective.score_name}": score / len(examples)}

    def _tell(self, message: str, *values: object) -> None:
        if self._checkpoints is not None:
            logger.info(message, *values)

    @property
    def _stale(self) -> bool:
        patience = self._learning.patience
        return patience is not None and self._progress.epoch - self._progress.best_epoch >= patience > 0 and bool(self._best)

    def _epoch(self, train: Examples, report: Report) -> None:
        """The rest of the epoch that the progress stands in."""
        now = self._progress
        parts = _cut(np.random.default_rng([self._seed, now.epoch]).permutation(len(train)).astype(np.intp), self._step_rows)
        look = 1 if self._device.name == "cpu" else _STEPS_BETWEEN_LOOKS
        running = torch.zeros((), device=self._device.name)
        for at in range(now.step, len(parts)):
            running += self._step(train, parts[at], self._rate(len(train), now.epoch, at))
            now.step, now.rows = at + 1, now.rows + len(parts[at])
            if now.step % look == 0 or now.step == len(parts) or self._due:
                now.loss += self._finite(float(running))
                running.zero_()
                if self._due:
                    self._save(len(train))
                share = (now.epoch + now.step / len(parts)) / self._learning.epochs
                report(share, f"epoch {now.epoch + 1} of {self._learning.epochs}: loss {now.loss / now.rows:.4g}")

    @property
    def _due(self) -> bool:
        return self._checkpoints is not None and self._checkpoints.due

    @property
    def _step_rows(self) -> int:
        return self._learning.batch_size * self._learning.accumulation

    def _step(self, train: Examples, rows: NDArray[np.intp], rate: float) -> Tensor:
        """One step of the optimizer; the sum of the rows' losses before it."""
        number = np.random.SeedSequence([self._seed, self._progress.epoch, self._progress.step]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(number) >> 1)
        random = torch.Generator().manual_seed((int(number) >> 1) ^ 1)
        self.module.train()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=self._device.name)
        for part in _cut(rows, self._learning.batch_size):
            outputs, targets = self._run(*train.batch(part, random))
            loss = self._objective.losses(outputs, targets).sum()
            torch.autograd.backward(self._scaler.scale(loss / len(rows)))
            total += loss.detach()
        if self._learning.optimizer.l1:
            torch.autograd.backward(self._scaler.scale(self._learning.optimizer.l1 * _size(self.module)))
        if self._learning.clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), self._learning.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return total

    def _run(self, inputs: tuple[Tensor, ...], targets: Tensor) -> tuple[Tensor, Tensor]:
        place = self._device.name
        with self._device.precision():
            return self.module(*(tensor.to(place, non_blocking=True) for tensor in inputs)), targets.to(place, non_blocking=True)

    def _rate(self, rows: int, epoch: int, step: int) -> float:
        steps = len(_cut(np.arange(rows, dtype=np.intp), self._step_rows))
        return learning_rate(self._learning, epoch * steps + step, steps)

    def _finite(self, loss: float) -> float:
        if math.isfinite(loss):
            return loss
        now = self._progress
        kept = f"the best epoch so far, {now.best_epoch}, is in its last good checkpoint" if now.best_epoch else "no epoch was done before"
        raise JobFailed(
            f"The loss became {loss} in step {now.step} of epoch {now.epoch + 1}, so training was stopped; {kept}. "
            "Lower learning.optimizer.learning_rate or learning.clip, or lengthen the warm-up, and resume the job with the change."
        )

    def _close_epoch(self, entry: dict[str, float]) -> None:
        now = self._progress
        self._finite(entry["validation_loss"])
        now.history.append(entry)
        now.epoch, now.step, now.loss, now.rows = now.epoch + 1, 0, 0.0, 0
        if entry["validation_loss"] < now.best_loss:
            now.best_loss, now.best_epoch = entry["validation_loss"], now.epoch
            self._best = {name: value.detach().cpu().clone() for name, value in self.module.state_dict().items()}

    def _save(self, rows: int) -> None:
        now, weights = self._progress, self.module.state_dict()
        if not all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point()):
            return  # the next loss says so
        steps = len(_cut(np.arange(rows, dtype=np.intp), self._step_rows))
        state: dict[str, Any] = {
            "module": weights,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "progress": copy.deepcopy(vars(now)),
            "best": self._best,
        }
        if self._checkpoints is not None:
            self._checkpoints.save(now.epoch * steps + now.step, state)

    def _resume(self) -> int:
        state = None if self._checkpoints is None else self._checkpoints.load()
        if state is None:
            return 0
        self.module.load_state_dict(state["module"])
        try:
            self._optimizer.load_state_dict(state["optimizer"])
        except (ValueError, KeyError):
            logger.warning("The checkpoint is of another optimizer, so this one begins without a memory")
        for group, fresh in zip(
            self._optimizer.param_groups, make_optimizer(self.module, self._learning.optimizer).param_groups, strict=True
        ):
            # What a resumed job says anew holds.
            group.update({name: fresh[name] for name in ("weight_decay", "momentum") if name in fresh})
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self._progress, self._best = Progress(**state["progress"]), state["best"]
        logger.info("Going on after epoch %d and %d steps, from a checkpoint", self._progress.epoch, self._progress.step)
        return self._progress.epoch


def _size(module: nn.Module) -> Tensor:
    return torch.stack([weight.abs().sum() for weight in module.parameters() if weight.ndim > 1]).sum()


def _cut(rows: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """Parts of ``size``; a last part of a single row joins the one before it, because norms over a batch need two."""
    edges = list(range(size, len(rows), size))
    if edges and size > 1 and len(rows) - edges[-1] == 1:
        edges.pop()
    return np.split(rows, edges)

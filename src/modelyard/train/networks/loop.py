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
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modelyard.core.errors import InvalidRequest, JobFailed
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import Device, fit_threads
from modelyard.train.networks.objectives import Objective
from modelyard.train.networks.stepping import learning_rate, make_optimizer
from modelyard.train.networks.team import Alone, Team, settle, share_of
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


@runtime_checkable
class Ordered(Protocol):
    """Examples that say which rows go well together."""

    def order(self, rows: NDArray[np.intp], size: int, random: np.random.Generator) -> NDArray[np.intp]:
        """The same rows, of which every ``size`` become a step."""


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
        team: Team | None = None,
    ) -> None:
        """``step`` is told each epoch's validation loss, and may raise to give the training up.

        Without ``checkpoints`` nothing is kept, and nothing logged. A member of a ``team`` learns from its part of every batch.
        """
        self._team = team or Alone()
        self.module = module.to(device.name)
        self._wrapped = self._team.wrap(self.module)
        self._objective, self._learning, self._device, self._checkpoints, self._seed = objective, learning, device, checkpoints, seed
        self._optimizer = make_optimizer(self.module, learning.optimizer)
        self._judged = step
        self._scaler = torch.amp.GradScaler(device.kind, enabled=device.scales)
        self._progress = Progress()
        self._best: dict[str, Tensor] = {}

    def fit(self, train: Examples, validate: Examples, report: Report) -> Fit:
        """Runs to the last epoch, or until nothing has got better for as long as the recipe says.

        Raises JobFailed when the loss is no number any more; the last good checkpoint stays.
        """
        self._check_rows(train, validate)
        if self._device.name == "cpu" and self._team.size == 1:
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
            if float(self._team.total(self._asked)) > 0:
                self._save(len(train))
        self._team.restore(self.module, self._best)
        self.module.eval()
        return Fit(now.history, now.best_epoch, stopped_early=now.epoch < learning.epochs, resumed_at=done)

    def judge(self, examples: Examples) -> dict[str, float]:
        """Mean loss and score on some rows, as they are."""
        loss = score = 0.0
        self._settle()
        self.module.eval()
        with torch.no_grad():
            for rows in self._parts(np.arange(len(examples), dtype=np.intp)):
                outputs, targets = self._run(self.module, *examples.batch(share_of(rows, self._team), None))
                loss += float(self._objective.losses(outputs, targets).sum())
                score += self._objective.score(outputs, targets)
        loss, score = self._team.total(torch.tensor([loss, score], dtype=torch.float64, device=self._device.name)).tolist()
        return {"validation_loss": loss / len(examples), f"validation_{self._objective.score_name}": score / len(examples)}

    def _tell(self, message: str, *values: object) -> None:
        if self._checkpoints is not None and self._team.rank == 0:
            logger.info(message, *values)

    def _check_rows(self, train: Examples, validate: Examples) -> None:
        size = self._team.size
        if size > 1 and (len(train) < self._fewest or len(validate) < size):
            raise InvalidRequest(
                f"{size} workers cannot share so few rows ({len(train)} to learn from, {len(validate)} to validate with); "
                "set learning.workers lower, or bring more data."
            )

    @property
    def _fewest(self) -> int:
        """Rows of a batch, lest a member has none, or a norm over its own rows has only one."""
        size = self._team.size
        return max(2, size) if self._learning.shares_norms else 2 * size

    def _settle(self) -> None:
        """Before the module is judged or kept: members are alike in all of it then."""
        if self._team.size > 1 and not self._learning.shares_norms:
            settle(self.module, self._team)

    @property
    def _stale(self) -> bool:
        patience = self._learning.patience
        return patience is not None and self._progress.epoch - self._progress.best_epoch >= patience > 0 and self._progress.best_epoch > 0

    def _epoch(self, train: Examples, report: Report) -> None:
        """The rest of the epoch that the progress stands in."""
        now = self._progress
        chance = np.random.default_rng([self._seed, now.epoch])
        rows = chance.permutation(len(train)).astype(np.intp)
        parts = self._steps(train.order(rows, self._step_rows, chance) if isinstance(train, Ordered) else rows)
        look = 1 if self._device.name == "cpu" else _STEPS_BETWEEN_LOOKS
        running = torch.zeros((), device=self._device.name)
        for at in range(now.step, len(parts)):
            running += self._step(train, parts[at], self._rate(len(train), now.epoch, at))
            now.step, now.rows = at + 1, now.rows + len(parts[at])
            if now.step % look == 0 or now.step == len(parts) or (self._team.size == 1 and self._due):
                loss, asked = self._team.total(torch.stack([running.double(), self._asked])).tolist()
                now.loss += self._finite(loss)
                running.zero_()
                if asked:
                    self._save(len(train))
                share = (now.epoch + now.step / len(parts)) / self._learning.epochs
                report(share, f"epoch {now.epoch + 1} of {self._learning.epochs}: loss {now.loss / now.rows:.4g}")

    @property
    def _due(self) -> bool:
        return self._checkpoints is not None and self._checkpoints.due

    @property
    def _asked(self) -> Tensor:
        """Whether member 0 wants a checkpoint; all members must help."""
        return torch.tensor(float(self._due and self._team.rank == 0), dtype=torch.float64, device=self._device.name)

    def _steps(self, rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        return _cut(rows, self._step_rows, self._fewest)

    @property
    def _step_rows(self) -> int:
        return self._learning.batch_size * self._learning.accumulation * self._team.size

    def _parts(self, rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        return _cut(rows, self._learning.batch_size * self._team.size, self._fewest)

    def _step(self, train: Examples, rows: NDArray[np.intp], rate: float) -> Tensor:
        """One step of the optimizer; the sum of the rows' losses before it."""
        place = [self._progress.epoch, self._progress.step, *([self._team.rank] if self._team.size > 1 else [])]
        number = np.random.SeedSequence([self._seed, *place]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(number) >> 1)
        random = torch.Generator().manual_seed((int(number) >> 1) ^ 1)
        self.module.train()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=self._device.name)
        parts = self._parts(rows)
        for at, part in enumerate(parts):
            with self._team.gathering(self._wrapped, now=at == len(parts) - 1):
                outputs, targets = self._run(self._wrapped, *train.batch(share_of(part, self._team), random))
                loss = self._objective.losses(outputs, targets).sum()
                wanted = loss * self._team.size / len(rows)
                if self._learning.optimizer.l1:
                    wanted = wanted + self._learning.optimizer.l1 * _size(self.module) / len(parts)
                torch.autograd.backward(self._scaler.scale(wanted))
            total += loss.detach()
        if self._learning.clip is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), self._learning.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return total

    def _run(self, network: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor) -> tuple[Tensor, Tensor]:
        place = self._device.name
        with self._device.precision():
            return network(*(tensor.to(place, non_blocking=True) for tensor in inputs)), targets.to(place, non_blocking=True)

    def _rate(self, rows: int, epoch: int, step: int) -> float:
        steps = _parts_of(rows, self._step_rows, self._fewest)
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
            self._best = {name: value.clone() for name, value in self._team.weights(self.module).items()}

    def _save(self, rows: int) -> None:
        self._settle()
        now, weights, memory = self._progress, self._team.weights(self.module), self._team.memory(self.module, self._optimizer)
        if self._team.rank != 0:
            return
        if not all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point()):
            return  # the next loss says so
        steps = _parts_of(rows, self._step_rows, self._fewest)
        state: dict[str, Any] = {
            "module": weights,
            "optimizer": memory,
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
        self._team.restore(self.module, state["module"])
        try:
            self._team.restore(self.module, state["module"], self._optimizer, state["optimizer"])
        except (ValueError, KeyError):
            logger.warning("The checkpoint is of another optimizer, so this one begins without a memory")
        for group, fresh in zip(
            self._optimizer.param_groups, make_optimizer(self.module, self._learning.optimizer).param_groups, strict=True
        ):
            # What a resumed job says anew holds.
            group.update({name: fresh[name] for name in ("weight_decay", "momentum", "betas") if name in fresh})
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self._progress, self._best = Progress(**state["progress"]), state["best"]
        self._tell("Going on after epoch %d and %d steps, from a checkpoint", self._progress.epoch, self._progress.step)
        return self._progress.epoch


def _size(module: nn.Module) -> Tensor:
    sums = [weight.abs().sum() for weight in module.parameters() if weight.ndim > 1 and weight.requires_grad]
    # Of weights that members share each has a part.
    return torch.stack([part.full_tensor() if hasattr(part, "full_tensor") else part for part in sums]).sum()


def _cut(rows: NDArray[np.intp], size: int, fewest: int = 2) -> list[NDArray[np.intp]]:
    """Parts of ``size``; a last part with fewer rows than it must have joins the one before it."""
    return np.split(rows, [size * part for part in range(1, _parts_of(len(rows), size, fewest))])


def _parts_of(rows: int, size: int, fewest: int) -> int:
    """How many parts ``_cut`` makes of so many rows."""
    parts = max(1, -(-rows // size))
    left = rows - (parts - 1) * size
    return parts - 1 if parts > 1 and size > 1 and left < fewest else parts

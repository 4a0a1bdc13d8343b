"""One training of one network, in this process or in several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from modelyard.core.plugins import load_string
from modelyard.engines.cluster import Cluster
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import Device, choose_device
from modelyard.train.networks.loop import Examples, Fit, Learner, Report, Step
from modelyard.train.networks.objectives import Objective
from modelyard.train.recipes.learning import Learning


@dataclass(frozen=True)
class Lesson:
    """What is learned, and from what. It must be picklable where several processes learn; arrays that are mapped from a file stay in it."""

    module: nn.Module
    objective: Objective
    train: Examples
    validate: Examples
    seed: int


class Site(NamedTuple):
    """Where workers learn."""

    folder: Path
    """Of the team alone; it is gone afterwards."""
    cluster: Cluster = Cluster()


def learn(lesson: Lesson, learning: Learning, device: Device, checkpoints: Checkpoints, *, site: Site, report: Report) -> Fit:
    """Trains the lesson's module, which holds the weights of its best epoch then; with as many workers as the recipe says.

    Raises what ``Learner.fit`` raises, JobFailed when a worker was lost more often than the recipe allows, and Unavailable when a cluster
    cannot be had.
    """
    if learning.workers > 1 or learning.engine == "ray":
        found: Fit = load_string("modelyard.train.networks.distributed.launch:learn_together")(
            lesson, learning, checkpoints, site=site, report=report
        )
        return found
    learner = Learner(lesson.module, lesson.objective, learning, device, checkpoints, seed=lesson.seed)
    return learner.fit(lesson.train, lesson.validate, report)


def try_out(lesson: Lesson, learning: Learning, step: Step, *, score: str) -> tuple[float, dict[str, Any]]:
    """One trial of a search, of which nothing is kept: the validation loss of its best epoch, and facts with the ``score`` of that epoch.

    ``step`` is told each epoch's loss, and may raise to give the trial up.
    """
    learner = Learner(lesson.module, lesson.objective, learning, choose_device(learning.precision), None, seed=lesson.seed, step=step)
    fit = learner.fit(lesson.train, lesson.validate, lambda *_: None)
    best = fit.history[fit.best_epoch - 1]
    curve = [entry["validation_loss"] for entry in fit.history]
    return best["validation_loss"], {score: best[f"validation_{score}"], "epochs": len(curve), "curve": curve}

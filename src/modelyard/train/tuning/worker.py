"""A process that tries recipes, one after another, until the search has had enough: ``python -m modelyard.train.tuning.worker FOLDER N``.

Its journal is shared with the other processes; one that is killed takes nothing with it but its own trial.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import optuna

from modelyard.core.errors import ModelyardError
from modelyard.train.recipes.parse import AnyRecipe, parse_recipe, plan_of
from modelyard.train.recipes.search import SearchPlan
from modelyard.train.tuning.journal import ENDED, open_study
from modelyard.train.tuning.space import suggest, varied
from modelyard.train.tuning.trials import Judge, open_judge

logger = logging.getLogger(__name__)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker reads: ``order.json`` in its folder."""

    recipe: dict[str, Any]
    dataset: dict[str, Any]
    data: str
    journal: str
    ends: float
    """Time since the epoch after which no trial begins; 0 for never."""
    attempt: str
    """This run of the search; trials that an earlier one left in the middle are nobody's."""


def work(folder: Path, number: int) -> None:
    """Tries recipes until enough have begun."""
    order = msgspec.json.decode((folder / "order.json").read_bytes(), type=Order)
    recipe = parse_recipe(order.recipe)
    plan = plan_of(recipe)
    if plan is None:
        raise ValueError("The recipe searches nothing.")
    scratch = folder / str(number)
    scratch.mkdir(exist_ok=True)
    judge = open_judge(Path(order.data), order.dataset, recipe, scratch)
    study = open_study(Path(order.journal), plan, recipe.seed, number)
    while not 0 < order.ends < time.time():
        with _turn(folder):
            trial = begin(study, plan, order.attempt, number)
        if trial is None:
            break
        _try(study, trial, recipe, plan, judge)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One process at a time; one that dies within it gives it up."""
    with (folder / "turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def begin(study: optuna.Study, plan: SearchPlan, attempt: str, number: int) -> optuna.Trial | None:
    """A new trial of one of the attempt's processes; None where those that ended and those in the making are enough."""
    trials = study.get_trials(deepcopy=False)
    if sum(trial.state in ENDED or trial.user_attrs.get("attempt") == attempt for trial in trials) >= plan.trials:
        return None
    trial = study.ask()
    trial.set_user_attr("attempt", attempt)
    trial.set_user_attr("process", number)
    return trial


def _try(study: optuna.Study, trial: optuna.Trial, recipe: AnyRecipe, plan: SearchPlan, judge: Judge) -> None:

    def step(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        values = suggest(trial, plan)
        trial.set_user_attr("values", values)
        value, facts = judge(varied(recipe, values), step)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except (ModelyardError, ValueError, ArithmeticError, MemoryError) as error:
        logger.warning("trial %d failed: %s", trial.number, error)
        trial.set_user_attr("note", str(error)[:300])
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        trial.set_user_attr("facts", facts)
        study.tell(trial, value)
        logger.info("trial %d: %.5g with %s", trial.number, value, values)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    work(Path(sys.argv[1]), int(sys.argv[2]))
    logging.shutdown()
    os._exit(0)  # as a job's process ends

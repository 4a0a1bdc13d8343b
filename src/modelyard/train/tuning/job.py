"""A training whose recipe is searched first: trials side by side, then the winner as any recipe."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import optuna
from optuna.trial import TrialState

from modelyard.core.errors import JobFailed
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.metrics import HIGHER_IS_BETTER
from modelyard.train.cores import cores
from modelyard.train.job import Context
from modelyard.train.recipes.parse import AnyRecipe
from modelyard.train.recipes.search import SearchPlan
from modelyard.train.tuning.journal import ENDED, give_up, importance, open_study, row_of
from modelyard.train.tuning.space import check_space, varied
from modelyard.train.tuning.worker import Order

logger = logging.getLogger(__name__)
_SHARE = 0.75
"""Of the job's progress that the search takes."""
_LOOK = 0.3
COMMAND = (sys.executable, "-m", "modelyard.train.tuning.worker")


@dataclass(frozen=True)
class Rest:
    """The context of the training that follows the search."""

    spec: dict[str, Any]
    folder: Path
    inputs: dict[str, Path]
    state: Path
    told: Callable[[str, float, str], None]

    def report(self, stage: str, fraction: float, message: str) -> None:
        self.told(stage, _SHARE + (1 - _SHARE) * fraction, message)


def train(context: Context, recipe: AnyRecipe, plan: SearchPlan, work: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Searches, trains the best recipe with ``work``, and tells of the search in the report and among the attachments.

    Raises JobFailed when no trial came to an end.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_space(recipe, plan)
    study = _searched(context, recipe, plan)
    trials = [row_of(trial) for trial in study.get_trials(deepcopy=False) if trial.state in ENDED]
    complete = [row for row in trials if row["value"] is not None]
    if not complete:
        notes = sorted({row["note"] for row in trials if row["note"]})
        raise JobFailed(f"None of {len(trials)} trials came to an end: {'; '.join(notes[:3]) or 'all were given up'}")
    best = min(complete, key=lambda row: row["value"])
    chosen = varied(recipe, best["values"])
    spec = context.spec | {"recipe": chosen.model_dump(mode="json", exclude_defaults=True)}
    result = work(Rest(spec, context.folder, context.inputs, context.state / "winner", context.report))
    weights = importance(study) if len(complete) >= 4 else {}
    attachments = context.folder / "output" / "attachments"
    _draw(attachments, trials, weights)
    (attachments / "trials.json").write_text(json.dumps(trials, indent=1))
    (attachments / "search.yaml").write_text(recipe.to_yaml())
    counts = {state: sum(row["status"] == state for row in trials) for state in ("complete", "pruned", "fail")}
    board = sorted(complete, key=lambda row: row["value"])[:20]
    result["report"]["search"] = {
        "trials": counts,
        "best": best,
        "importance": weights,
        "leaderboard": [{name: value for name, value in row.items() if name not in {"steps", "curve"}} for row in board],
    }
    result["report"]["plots"] |= {name: f"{name}.svg" for name in ("search_curves", "search_coordinates", "search_importance")}
    return result


def _searched(context: Context, recipe: AnyRecipe, plan: SearchPlan) -> optuna.Study:
    """Runs as many processes as may work at the same time until enough trials have ended; goes on with those of an earlier attempt."""
    context.state.mkdir(parents=True, exist_ok=True)
    journal, folder = context.state / "search.journal", context.folder / "output" / "search"
    folder.mkdir(parents=True, exist_ok=True)
    study = open_study(journal, plan, recipe.seed)
    ends = time.time() + plan.seconds if plan.seconds else 0.0
    dataset = dict(context.spec.get("dataset") or {})
    order = Order(
        recipe=recipe.model_dump(mode="json", exclude_defaults=True),
        dataset=dataset,
        data=str(context.inputs["data"]),
        journal=str(journal),
        ends=ends,
        attempt=uuid.uuid4().hex,
    )
    (folder / "order.json").write_bytes(msgspec.json.encode(order))
    count = min(plan.parallel or cores(), plan.trials)
    workers = [subprocess.Popen([*COMMAND, str(folder), str(number)], stdin=subprocess.DEVNULL) for number in range(count)]
    try:
        while _at_work(workers, study, order.attempt):
            _tell(context, study, plan)
            time.sleep(_LOOK)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
    if failed := [worker.returncode for worker in workers if worker.returncode]:
        logger.warning("%d of %d processes of the search ended with %s", len(failed), count, failed)
        if not any(trial.state is TrialState.COMPLETE for trial in study.get_trials(deepcopy=False)):
            raise JobFailed("The processes of the search ended without a trial; the job's log has the reason.")
    return study


def _at_work(workers: Sequence[subprocess.Popen[bytes]], study: optuna.Study, attempt: str) -> bool:
    """Whether any of the processes is; a trial that one was lost with has failed."""
    ended = [worker.poll() for worker in workers]
    for number, status in enumerate(ended):
        if status:
            give_up(study, attempt, number)
    return None in ended


def _tell(context: Context, study: optuna.Study, plan: SearchPlan) -> None:
    trials = study.get_trials(deepcopy=False)
    ended = sum(trial.state in ENDED for trial in trials)
    values = [trial.value for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    best = f", the best at {min(values):.4g}" if values else ""
    context.report("search", _SHARE * min(1.0, ended / plan.trials), f"{ended} of {plan.trials} trials{best}")


def _draw(attachments: Path, trials: list[dict[str, Any]], weights: dict[str, float]) -> None:
    """Trials of tables by their score, which a search makes as small as it can with the sign turned; networks by their loss."""
    metric = next((row["metric"] for row in trials if row.get("metric")), "")
    objective = metric.replace("_", " ") or "validation loss"
    told: dict[str, Any] = {"objective": objective, "higher_is_better": HIGHER_IS_BETTER.get(metric, False)}
    with Illustrator(attachments) as illustrator:
        rows = [{name: row[name] for name in ("trial", "status", "values", "steps")} | {"value": _value(row)} for row in trials]
        illustrator.draw("search_curves", "search_curves", trials=rows, **told)
        illustrator.draw("search_coordinates", "search_coordinates", trials=rows, **told)
        illustrator.draw("search_importance", "search_importance", importance=weights, objective=objective)
        illustrator.finish()


def _value(row: dict[str, Any]) -> float | None:
    """What a trial is worth; nothing where it did not come to its end."""
    value: float | None = row["value"]
    return value if value is None else float(row.get("score", value))

"""The study: what all trials of a search have found, in a file that outlives every process."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from modelyard.train.recipes.search import SearchPlan

ENDED = frozenset({TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL})
_NAME = "search"
_LOST = "its process ended in the middle, as it does when memory runs out"
_WARM_UP_TRIALS = 4
_WARM_UP_STEPS = 2


def open_study(journal: Path, plan: SearchPlan, seed: int, number: int = 0) -> optuna.Study:
    """The study in a file, new or as it was left; a process for each ``number``, whose suggestions differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed * 1_000 + number, multivariate=True, n_startup_trials=min(10, max(2, plan.trials // 3))
        )
    pruner: Any = optuna.pruners.MedianPruner(_WARM_UP_TRIALS, _WARM_UP_STEPS) if plan.prune else optuna.pruners.NopPruner()
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=_NAME,
        sampler=sampler,
        pruner=pruner,
        direction="minimize",
        load_if_exists=True,
    )


def give_up(study: optuna.Study, attempt: str, number: int) -> None:
    """Ends the trial that one of the attempt's processes left in the middle."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("attempt") == attempt and trial.user_attrs.get("process") == number:
            study.tell(trial.number, state=TrialState.FAIL)


def row_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial for people and pictures."""
    seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
    return {
        "trial": trial.number,
        "status": trial.state.name.lower(),
        "value": trial.value if trial.state is TrialState.COMPLETE else None,
        "values": trial.user_attrs.get("values", {}),
        "seconds": round(seconds, 2),
        "steps": [trial.intermediate_values[at] for at in sorted(trial.intermediate_values)],
        **trial.user_attrs.get("facts", {}),
        "note": trial.user_attrs.get("note", _LOST if trial.state is TrialState.FAIL else ""),
    }


def importance(study: optuna.Study) -> dict[str, float]:
    """How much of the differences between trials each field explains; empty where they do not say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))
    except (ValueError, RuntimeError):  # too few trials, or all alike
        return {}
    return {name: float(value) for name, value in found.items()}

"""Cross-validation over families and their hyper-parameters.

Each fold's rows are prepared once (fills, scales and categories learned from the fold's own training rows) and shared by all families.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sklearn
from threadpoolctl import threadpool_limits

from modelyard.core.errors import InvalidRequest, JobFailed, TooLarge, did_you_mean
from modelyard.datasets.prepare import Matrix
from modelyard.datasets.table import Rows
from modelyard.evaluation.metrics import HIGHER_IS_BETTER, classification_metrics, regression_metrics
from modelyard.train.families import FAMILIES, ON_REQUEST
from modelyard.train.model import PreparedRows, fit_model, prepare_rows, shape_of
from modelyard.train.problem import Problem, Task
from modelyard.train.recipes.table import TableRecipe
from modelyard.train.trainers.base import Settings, Shape, Trainer

logger = logging.getLogger(__name__)

Report = Callable[[str, float, str], None]
"""``report(stage, fraction, message)``."""
_TIE_BREAKER = {Task.CLASSIFICATION: "log_loss", Task.REGRESSION: "mae"}
_CACHE_BYTES = 512 << 20
_SMALL_CELLS = 200_000
"""Cells below which starting threads costs more than they bring."""


@dataclass(frozen=True)
class Trial:
    """One family with one choice of hyper-parameters over all folds. ``note`` says why there are no scores, where there are none."""

    settings: Settings
    scores: Mapping[int, float] = field(default_factory=dict)
    """By the number of the fold."""
    tie_breaks: tuple[float, ...] = ()
    seconds: float = 0.0
    """Mean time of a fit."""
    check_seconds: float = 0.0
    """Mean time of predicting and scoring a fold."""
    note: str = ""


@dataclass
class Standing:
    """A family's place on the leaderboard: its best trial."""

    family: str
    title: str
    status: str
    """``ranked``, ``selected``, ``refused`` (not the same as ONNX), ``failed`` or ``skipped``."""
    metric: str
    settings: Settings
    mean: float | None = None
    std: float | None = None
    tie_break: float = 0.0
    fit_seconds: float = 0.0
    trials: int = 0
    note: str = ""
    fold_scores: Mapping[int, float] = field(default_factory=dict)
    """By the number of the fold, where it could be scored."""
    check_seconds: float = 0.0

    def __str__(self) -> str:
        """The row as a log tells it."""
        if self.mean is None or self.std is None:
            return f"{self.title}: {self.status}, {self.note or 'no scores'}"
        chosen = ", ".join(f"{name}={value}" for name, value in self.settings.items()) or "no settings"
        score = f"{self.metric} {self.mean:.4f} ± {self.std:.4f}"
        return f"{self.title}: {score}, best of {self.trials} with {chosen}, {self.fit_seconds:.4f} s a fit"

    def to_json(self) -> dict[str, Any]:
        """The row as reports keep it."""
        return {
            "family": self.family,
            "title": self.title,
            "status": self.status,
            "metric": self.metric,
            "mean": self.mean,
            "std": self.std,
            "fit_seconds": round(self.fit_seconds, 4),
            "trials": self.trials,
            "settings": dict(self.settings),
            "note": self.note,
        }


def first_line(error: Exception) -> str:
    """What an error of a library says, short enough for a leaderboard."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no detail').splitlines()[0][:200]}"


def threads_for(rows: int, features: int) -> int:
    """Threads that fits should use: all of this process's cores for large tables, one for small."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") and rows * features > _SMALL_CELLS else 1


class Search:
    """Ranks model families on a problem's training rows. Held-out rows are never looked at."""

    def __init__(self, problem: Problem, recipe: TableRecipe, report: Report) -> None:
        self.problem = problem
        self.recipe = recipe
        self._report = report
        self.options = recipe.preparation_options()
        self.folds = problem.folds(recipe.folds)
        self._prepared: dict[int, tuple[PreparedRows, Matrix]] = {}
        # Features once prepared: known only after a fit, and close to equal in all folds.
        first, _ = self._fold(0)
        self.features = first.features.shape[1]
        self.threads = threads_for(len(problem.train), self.features)
        self._check_memory(recipe.budget.memory_megabytes)
        self._ends = time.monotonic() + recipe.budget.seconds if recipe.budget.seconds else None
        self.seconds = 0.0
        """How long ``run`` took."""

    def run(self) -> list[Standing]:
        """All families, the best first; those that could not be ranked come last.

        Raises InvalidRequest when no family suits and JobFailed when none could be fitted.
        """
        trainers = self._trainers()
        plans = {name: self._candidates(name, trainer) for name, trainer in trainers.items()}
        total = sum(len(plan) for plan in plans.values() if not isinstance(plan, str))
        if not total:
            raise InvalidRequest("No model family suits: " + "; ".join(f"{name}: {plan}" for name, plan in plans.items()))
        standings: list[Standing] = []
        done, began = 0, time.monotonic()
        # Settings are the families' own, so checking them in each of hundreds of fits finds nothing and takes a tenth of small ones.
        with threadpool_limits(limits=self.threads), sklearn.config_context(skip_parameter_validation=True):
            for name, trainer in trainers.items():
                plan = plans[name]
                if isinstance(plan, str):
                    standings.append(Standing(name, trainer.title, "skipped", self.problem.metric, {}, note=plan))
                    continue
                trials: list[Trial] = []
                for settings in plan:
                    if self.spent and (trials or standings):
                        break
                    self._report("search", done / total, f"{trainer.title} {_told(settings)}".strip())
                    trials.append(self._try(trainer, settings))
                    done += 1
                standings.append(self._standing(name, trainer, trials, len(plan)))
                logger.info("%s", standings[-1])
        self._report("search", 1.0, "families ranked")
        self._prepared.clear()
        self.seconds = time.monotonic() - began
        return self._ranked(standings)

    def _check_settings(self, tried: Sequence[str]) -> None:
        for name in self.recipe.settings:
            if name not in tried:
                raise InvalidRequest(
                    f"settings names the family {name!r}, which is not tried.{did_you_mean(name, tried)} Tried: {', '.join(tried)}."
                )

    @property
    def spent(self) -> bool:
        """Whether the time budget is."""
        return self._ends is not None and time.monotonic() > self._ends

    def _trainers(self) -> dict[str, Trainer]:
        """The families to try, by name; those of the other task are left out unless asked for."""
        names = self.recipe.families or tuple(name for name in FAMILIES.names() if name not in ON_REQUEST)
        self._check_settings(names)
        found = {name: FAMILIES.get(name) for name in dict.fromkeys(names)}
        unfit = [name for name, trainer in found.items() if self.problem.task not in trainer.tasks]
        if unfit and self.recipe.families:
            known = [name for name in FAMILIES.names() if name not in ON_REQUEST and self.problem.task in FAMILIES.get(name).tasks]
            raise InvalidRequest(f"Family {unfit[0]!r} does not do {self.problem.task}; these do: {', '.join(known)}.")
        return {name: trainer for name, trainer in found.items() if name not in unfit}

    def _candidates(self, name: str, trainer: Trainer) -> Sequence[Settings] | str:
        """Hyper-parameters to try, or why none are tried."""
        shape = self._shape(len(self.problem.train))
        reluctance = trainer.reluctance(shape)
        if reluctance and not self.recipe.families:
            return f"{reluctance}; list {name!r} under families to try it all the same"
        rows = len(self.problem.train)
        trials = self.recipe.budget.trials or (2 if rows <= 20_000 else 1)
        given = self.recipe.settings.get(name, {})
        trainer.check(given, shape)
        candidates: list[Settings] = []
        for candidate in trainer.candidates(shape):
            settings = dict(candidate) | given
            if settings not in candidates:
                candidates.append(settings)
        return candidates[:trials]

    def _shape(self, rows: int) -> Shape:
        return shape_of(self.problem, rows, self.features, self.threads)

    def _check_memory(self, megabytes: int | None) -> None:
        # The matrix, a copy that the family makes, and the folds kept ready.
        need = len(self.problem.train) * self.features * 4 * (2 + self._kept_folds) >> 20
        if megabytes is not None and need > megabytes:
            raise TooLarge(
                f"The training would need about {need} MB for its matrices, over budget.memory_megabytes ({megabytes}); "
                "raise it, give fewer rows or columns, or lower preparation.max_categories."
            )

    @property
    def _kept_folds(self) -> int:
        bytes_all = len(self.problem.train) * self.features * 4 * len(self.folds)
        return len(self.folds) if bytes_all <= _CACHE_BYTES else 1

    def _fold(self, at: int) -> tuple[PreparedRows, Matrix]:
        """A fold's training rows, and its check rows prepared the same way; kept, in place of others where not all can be."""
        if at not in self._prepared:
            if self._prepared and self._kept_folds == 1:
                self._prepared.clear()
            fit, check = self.folds[at]
            prepared = prepare_rows(self.problem, self.options, fit)
            self._prepared[at] = (prepared, prepared.preparation.transform(self.problem.features, check))
        return self._prepared[at]

    def _order(self) -> list[int]:
        """The folds, beginning with those that are ready."""
        return sorted(range(len(self.folds)), key=lambda at: at not in self._prepared)

    def _try(self, trainer: Trainer, settings: Settings) -> Trial:
        """One trial over all folds."""
        scores: dict[int, float] = {}
        ties: list[float] = []
        spent: list[tuple[float, float]] = []
        try:
            for at in self._order():
                score, tie, seconds = self._try_fold(trainer, settings, at)
                spent.append(seconds)
                if score is not None:
                    scores[at] = score
                    ties.append(tie)
        except (ValueError, ArithmeticError, MemoryError) as error:
            logger.warning("a fit of %s failed", trainer.title, exc_info=True)
            return Trial(settings, note=first_line(error))
        if not scores:
            return Trial(settings, note=f"no fold gives {self.problem.metric}")
        fit, check = (statistics.fmean(each) for each in zip(*spent, strict=True))
        return Trial(settings, scores, tuple(ties), fit, check)

    def _try_fold(self, trainer: Trainer, settings: Settings, at: int) -> tuple[float | None, float, tuple[float, float]]:
        """The two scores, and the seconds that the fit and the check took."""
        prepared, features = self._fold(at)
        rows, width = prepared.features.shape
        shape = shape_of(self.problem, rows, width, self.threads)
        began = time.perf_counter()
        model = fit_model(trainer, settings, shape, prepared)
        fitted = time.perf_counter()
        score, tie = self.score(model.predict_prepared(features), self.folds[at][1])
        return score, tie, (fitted - began, time.perf_counter() - fitted)

    def score(self, predicted: Any, rows: Rows) -> tuple[float | None, float]:
        """The metric that decides and the one that breaks ties."""
        names = (self.problem.metric, _TIE_BREAKER[self.problem.task])
        truth = self.problem.values[rows]
        if not np.isfinite(predicted).all():
            raise ValueError("its predictions are not finite")
        found = (
            classification_metrics(truth.astype(np.int64), predicted, names)
            if self.problem.task is Task.CLASSIFICATION
            else regression_metrics(truth.astype(np.float64), predicted, names)
        )
        return found.get(names[0]), found.get(names[1], 0.0)

    def _standing(self, name: str, trainer: Trainer, trials: list[Trial], planned: int) -> Standing:
        scored = [trial for trial in trials if trial.scores]
        if not trials:
            return Standing(name, trainer.title, "skipped", self.problem.metric, {}, note="the time budget was spent")
        if not scored:
            return Standing(name, trainer.title, "failed", self.problem.metric, trials[0].settings, trials=len(trials), note=trials[0].note)
        best = min(scored, key=lambda trial: self._rank(statistics.fmean(trial.scores.values()), statistics.fmean(trial.tie_breaks)))
        return Standing(
            family=name,
            title=trainer.title,
            status="ranked",
            metric=self.problem.metric,
            settings=best.settings,
            mean=statistics.fmean(best.scores.values()),
            std=statistics.pstdev(best.scores.values()),
            tie_break=statistics.fmean(best.tie_breaks),
            fit_seconds=best.seconds,
            trials=len(trials),
            note="" if len(trials) == planned else "the time budget cut its trials",
            fold_scores=best.scores,
            check_seconds=best.check_seconds,
        )

    def _rank(self, mean: float, tie_break: float) -> tuple[float, float]:
        """Smaller is better. Scores that differ by rounding only are equal."""
        return (round(-mean if HIGHER_IS_BETTER[self.problem.metric] else mean, 9), tie_break)

    def _ranked(self, standings: list[Standing]) -> list[Standing]:
        ranked = [standing for standing in standings if standing.mean is not None]
        if not ranked:
            told = "; ".join(f"{standing.family}: {standing.note}" for standing in standings)
            raise JobFailed(f"No model family could be fitted: {told}")
        ranked.sort(key=lambda standing: self._rank(standing.mean or 0.0, standing.tie_break))
        return ranked + [standing for standing in standings if standing.mean is None]


def _told(settings: Settings) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())

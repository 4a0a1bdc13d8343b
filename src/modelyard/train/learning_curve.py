"""What more rows bring: the score of a family that a search has ranked, when it learns from parts of the rows."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import sklearn
from threadpoolctl import threadpool_limits

from modelyard.train.families import FAMILIES
from modelyard.train.model import fit_model, prepare_rows, shape_of
from modelyard.train.problem import Task
from modelyard.train.search import Search, Standing

logger = logging.getLogger(__name__)

_PARTS = (0.1, 0.25, 0.5)
"""Of a fold's training rows, beside all."""
_FEWEST_ROWS = 20
_SHARE, _SECONDS = 0.05, 0.5
"""It takes this part of the search's time, or so long where that is more."""


class _Scored(NamedTuple):
    """What one fit gave."""

    rows: int
    score: float


def learning_curve(search: Search, standing: Standing) -> list[dict[str, float]]:
    """A ranked family's score by the ``rows`` that it learns from, fewest first: ``mean`` and ``std`` over ``folds``, each time the same.

    Every part is prepared for itself, as if there were no more rows, and checked on the whole of its fold; the last point is what the
    search found. Fewer folds are taken where all would need more than a twentieth of the time that the search took, or half a second where
    that is more; there are no points where one fold would, or where the time budget is spent. To be called after ``Search.run``.
    """
    if search.spent:
        return []
    allowed, began = max(_SECONDS, _SHARE * search.seconds), time.monotonic()
    expected = sum(_PARTS) * standing.fit_seconds + len(_PARTS) * standing.check_seconds
    found: dict[int, list[_Scored | None]] = {}
    with threadpool_limits(limits=search.threads), sklearn.config_context(skip_parameter_validation=True):
        for at in standing.fold_scores:
            took = time.monotonic() - began
            if max(expected, took / len(found) if found else 0.0) > allowed - took:
                break
            found[at] = [_learn(search, standing, part, at) for part in _PARTS]
    points = []
    for column in zip(*found.values(), strict=True):
        scored = [each for each in column if each is not None]
        if len(scored) == len(found):
            points.append(_point(scored))
    whole = [_Scored(len(search.folds[at][0]), standing.fold_scores[at]) for at in found]
    return [*points, _point(whole)] if points else []


def _learn(search: Search, standing: Standing, part: float, at: int) -> _Scored | None:
    """Learns from a part of a fold's rows; None where there is no score to be had of so few."""
    problem, (fit, check) = search.problem, search.folds[at]
    rows = np.sort(np.random.default_rng(problem.seed + at).permutation(fit)[: round(part * len(fit))])
    lacks = problem.task is Task.CLASSIFICATION and len(np.unique(problem.values[rows])) < len(problem.classes)
    if len(rows) < _FEWEST_ROWS or lacks:
        return None
    trainer = FAMILIES.get(standing.family)
    prepared = prepare_rows(problem, search.options, rows)
    shape = shape_of(problem, len(rows), prepared.features.shape[1], search.threads)
    try:
        score, _ = search.score(fit_model(trainer, standing.settings, shape, prepared).predict(problem.features, check), check)
    except (ValueError, ArithmeticError, MemoryError):
        logger.info("%s does not learn from %d rows", trainer.title, len(rows), exc_info=True)
        return None
    return None if score is None else _Scored(len(rows), score)


def _point(scored: Sequence[_Scored]) -> dict[str, float]:
    scores = [each.score for each in scored]
    rows = round(statistics.fmean(each.rows for each in scored))
    return {"rows": rows, "mean": statistics.fmean(scores), "std": statistics.pstdev(scores), "folds": len(scored)}

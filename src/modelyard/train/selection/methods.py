"""The methods: each gives the columns to keep, from training rows alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.linear_model import LogisticRegression, Ridge

from modelyard.datasets.split import hold_out
from modelyard.train.model import PreparedRows, prepare_rows
from modelyard.train.problem import Problem, Task
from modelyard.train.recipes.table import TableRecipe
from modelyard.train.selection.evidence import Evidence, contingency, entropy, shared_information
from modelyard.train.selection.qubo import Solver, anneal, build_qubo, quantum

Scores = NDArray[np.float64]
Chosen = list[int]
"""Positions of columns."""
_MOST_ROWS = 5_000
_REPEATS = 5


def information_gain(evidence: Evidence) -> Scores:
    """How much a column's groups tell of the target, as a share of what there is to tell."""
    whole = entropy(np.bincount(evidence.target).astype(np.float64)) or 1.0
    return np.array([shared_information(codes, evidence.target) / whole for codes in evidence.columns])


def chi_squared(evidence: Evidence) -> Scores:
    """Pearson's statistic of groups against classes, as Cramér's V, so that columns with more groups gain nothing by it."""
    found = []
    for codes in evidence.columns:
        counts = contingency(codes, evidence.target)
        expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / counts.sum()
        statistic = float(((counts - expected) ** 2 / np.maximum(expected, 1e-12)).sum())
        found.append((statistic / counts.sum() / max(1, min(counts.shape) - 1)) ** 0.5)
    return np.array(found)


def mutual_information(evidence: Evidence) -> Scores:
    """By nearest neighbours, without groups for numbers; missing numbers stand at the median."""
    problem = evidence.problem
    matrix = np.zeros((len(evidence.rows), len(evidence.columns)))
    discrete = np.zeros(len(evidence.columns), bool)
    for at, column in enumerate(problem.features):
        if column.is_number:
            values = column.take(evidence.rows).values.astype(np.float64)
            middle = float(np.median(values[~np.isnan(values)])) if not np.isnan(values).all() else 0.0
            matrix[:, at] = np.where(np.isnan(values), middle, values)
        else:
            matrix[:, at], discrete[at] = evidence.columns[at], True
    measure = mutual_info_classif if problem.task is Task.CLASSIFICATION else mutual_info_regression
    found: Scores = measure(matrix, problem.values[evidence.rows], discrete_features=discrete, random_state=problem.seed)
    return found


def redundancy(evidence: Evidence) -> NDArray[np.float64]:
    """How much each two columns tell of each other, as a share of what the one that knows less could."""
    count = len(evidence.columns)
    own = [entropy(np.bincount(codes).astype(np.float64)) or 1.0 for codes in evidence.columns]
    found = np.zeros((count, count))
    for a in range(count):
        for b in range(a + 1, count):
            found[a, b] = found[b, a] = shared_information(evidence.columns[a], evidence.columns[b]) / min(own[a], own[b])
    return found


def recursive(evidence: Evidence, recipe: TableRecipe, keep: int) -> Chosen:
    """Fits a linear model again and again without the column that it needs least."""
    left = list(range(len(evidence.columns)))
    while len(left) > keep:
        part, groups = _prepared(evidence, recipe, left)
        weights = np.abs(_linear(evidence.problem, part)).max(axis=0)
        spreads = part.features.std(axis=0)
        needs = [float(np.linalg.norm((weights * spreads)[group])) for group in groups]
        left.pop(int(np.argmin(needs)))
    return left


def permutation(evidence: Evidence, recipe: TableRecipe) -> Scores:
    """How much worse a forest becomes on rows that it has not seen, when a column's values are dealt out anew."""
    problem = evidence.problem
    part, groups = _prepared(evidence, recipe, list(range(len(evidence.columns))))
    codes = part.target.astype(np.intp) if problem.task is Task.CLASSIFICATION else None
    fit, check = hold_out(len(evidence.rows), 0.3, problem.seed, codes)
    kind = RandomForestClassifier if problem.task is Task.CLASSIFICATION else RandomForestRegressor
    forest = kind(100, random_state=problem.seed, min_samples_leaf=2).fit(part.features[fit], part.target[fit])
    base = forest.score(part.features[check], part.target[check])
    random = np.random.default_rng(problem.seed)
    losses = np.zeros(len(groups))
    for at, group in enumerate(groups):
        for _ in range(_REPEATS):
            dealt = part.features[check].copy()
            dealt[:, group] = dealt[random.permutation(len(check))][:, group]
            losses[at] += (base - forest.score(dealt, part.target[check])) / _REPEATS
    return losses


def annealed(evidence: Evidence, keep: int, weight: float, solver: Solver) -> Chosen:
    """The choice that tells most of the target and least twice."""
    chosen = solver(build_qubo(information_gain(evidence), redundancy(evidence), keep, weight), evidence.problem.seed)
    return np.flatnonzero(chosen).tolist()


def _best(scores: Scores, keep: int) -> Chosen:
    return sorted(np.argsort(-scores, kind="stable")[:keep].tolist())


Method = Callable[[Evidence, TableRecipe, int], Chosen]
METHODS: Mapping[str, Method] = {
    "mutual_information": lambda evidence, _, keep: _best(mutual_information(evidence), keep),
    "information_gain": lambda evidence, _, keep: _best(information_gain(evidence), keep),
    "chi2": lambda evidence, _, keep: _best(chi_squared(evidence), keep),
    "recursive": recursive,
    "permutation": lambda evidence, recipe, keep: _best(permutation(evidence, recipe), keep),
    "qubo": lambda evidence, recipe, keep: annealed(evidence, keep, recipe.features.redundancy, anneal),
    "quantum": lambda evidence, recipe, keep: annealed(evidence, keep, recipe.features.redundancy, quantum),
}
"""By the name that recipes use."""


def choose(method: str, problem: Problem, recipe: TableRecipe, rows: NDArray[np.intp], keep: int) -> Chosen:
    """The columns that a method keeps, from these rows; of many rows some."""
    if len(rows) > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(problem.seed).permutation(rows)[:_MOST_ROWS])
    return METHODS[method](Evidence.of(problem, rows), recipe, keep)


def _prepared(evidence: Evidence, recipe: TableRecipe, columns: Chosen) -> tuple[PreparedRows, list[Chosen]]:
    """Prepared rows of some columns, and the positions of each column's features."""
    problem = evidence.problem
    names = [problem.features.names[at] for at in columns]
    part = prepare_rows(problem.with_features(names), recipe.preparation_options(), evidence.rows)
    places: dict[str, Chosen] = {name: [] for name in names}
    for at, name in enumerate(part.preparation.numbers.names):
        places[name].append(at)
    at = len(part.preparation.numbers.names)
    for steps in part.preparation.categories:
        places[steps.name] = list(range(at, at + len(steps.values)))
        at += len(steps.values)
    return part, [places[name] for name in names]


def _linear(problem: Problem, part: PreparedRows) -> Scores:
    """Weights ``[classes or 1, features]``."""
    if problem.task is Task.REGRESSION:
        return np.atleast_2d(Ridge(1.0).fit(part.features, part.target).coef_)
    return np.atleast_2d(LogisticRegression(C=1.0, max_iter=300).fit(part.features, part.target).coef_)

"""The learning problem that a table and a recipe pose: which columns predict what, and which rows training may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData, InvalidRequest, did_you_mean
from modelyard.datasets.profile import ColumnProfile
from modelyard.datasets.schema import Field, Kind, infer_schema
from modelyard.datasets.split import folds, hold_out
from modelyard.datasets.table import Column, Rows, Table
from modelyard.train.recipes.table import CLASSIFICATION_METRICS, REGRESSION_METRICS, TableRecipe

OUTPUT_NAMES = frozenset({"label", "probabilities", "prediction"})
_FEWEST_ROWS = 10
_FEW_CLASSES = 10
_MOST_CLASSES = 200
_MANY_ROWS = 10_000


class Task(StrEnum):
    """What is predicted."""

    CLASSIFICATION = "classification"  # one of a set of classes
    REGRESSION = "regression"  # a quantity


@dataclass(frozen=True)
class Problem:
    """Features, target and split. Rows without a target are already gone."""

    task: Task
    target: str
    features: Table
    """The usable columns of all rows."""
    values: NDArray[np.float64] | NDArray[np.intp]
    """The target of all rows: class numbers, or quantities."""
    classes: tuple[str, ...]
    """Class names in the order of class numbers; empty for quantities."""
    integer_classes: bool
    """Whether the classes are whole numbers, which a model gives back as INT64."""
    train: Rows
    test: Rows
    fields: Mapping[str, Field]
    """Every column's meaning, the target's and the excluded ones' included."""
    excluded: Mapping[str, str]
    """Columns that are no features, with the reason."""
    dropped_rows: int
    metric: str
    seed: int

    def with_features(self, names: Sequence[str]) -> Problem:
        """The same with these columns only."""
        return replace(self, features=self.features.select(names))

    def fold_count(self, wanted: int | None) -> int:
        """How many folds the cross-validation has."""
        return wanted or (3 if len(self.train) > _MANY_ROWS else 5)

    def folds(self, wanted: int | None) -> list[tuple[Rows, Rows]]:
        """The cross-validation's splits of the training rows, as row numbers of the whole table."""
        count = self.fold_count(wanted)
        classes = self.values[self.train].astype(np.intp) if self.task is Task.CLASSIFICATION else None
        return [(self.train[fit], self.train[check]) for fit, check in folds(len(self.train), count, self.seed, classes)]

    def class_values(self) -> NDArray[np.generic]:
        """The classes as a model gives them back: int64 or object array of ``str``."""
        return np.array([int(name) for name in self.classes], np.int64) if self.integer_classes else np.array(self.classes, dtype=object)


def pose(table: Table, profiles: Mapping[str, ColumnProfile], recipe: TableRecipe) -> Problem:
    """Makes the problem.

    Raises InvalidData or InvalidRequest with one sentence for whatever makes it unsolvable.
    """
    target = table.column(recipe.target, "target")
    _check_columns(table, recipe)
    present = np.flatnonzero(~target.missing)
    if not len(present):
        raise InvalidData(f"The target {target.name!r} has no value in any row; choose another or fill it in.")
    dropped = len(table) - len(present)
    if dropped:
        table = table.take(present)
        target = table.column(recipe.target)
    if len(present) < _FEWEST_ROWS:
        raise InvalidData(f"{table.source.name} has {len(present)} rows with a target; training needs at least {_FEWEST_ROWS}.")
    fields = infer_schema(table, profiles, recipe.types)
    task = _task(target, recipe)
    values, classes, integers = read_classes(target) if task is Task.CLASSIFICATION else _quantities(target)
    chosen, excluded = _features(fields, recipe)
    train, test = hold_out(len(table), recipe.test_size, recipe.seed, values.astype(np.intp) if classes else None)
    return Problem(
        task=task,
        target=target.name,
        features=table.select(chosen),
        values=values,
        classes=classes,
        integer_classes=integers,
        train=train,
        test=test,
        fields=fields,
        excluded=excluded,
        dropped_rows=dropped,
        metric=_metric(task, recipe),
        seed=recipe.seed,
    )


def _check_columns(table: Table, recipe: TableRecipe) -> None:
    """Raises InvalidData for named columns that are not there and for features that hold nothing."""
    for name in (*(recipe.features.include or ()), *recipe.features.exclude, *recipe.types):
        if name not in table.names:
            raise InvalidData(
                f"{table.source.name} has no column {name!r}.{did_you_mean(name, table.names)} Columns: {', '.join(table.names)}."
            )
    for column in table:
        if column.name != recipe.target and _wanted(column.name, recipe) and column.missing.all():
            raise InvalidData(f"Column {column.name!r} has no value in any row; fill it, remove it, or list it under features.exclude.")


def _wanted(name: str, recipe: TableRecipe) -> bool:
    include = recipe.features.include
    return name not in recipe.features.exclude and (include is None or name in include)


def _task(target: Column, recipe: TableRecipe) -> Task:
    if recipe.task != "auto":
        task = Task(recipe.task)
        if task is Task.REGRESSION and not target.is_number:
            note = f" {target.note}" if target.note else ""
            raise InvalidData(
                f"The target {target.name!r} holds text, so it is no quantity to regress on.{note} Set task to classification."
            )
        return task
    if not target.is_number:
        return Task.CLASSIFICATION
    few = target.integers and len(np.unique(target.values)) <= _FEW_CLASSES
    return Task.CLASSIFICATION if few else Task.REGRESSION


def _features(fields: Mapping[str, Field], recipe: TableRecipe) -> tuple[list[str], dict[str, str]]:
    """The columns to use, and why the others are not."""
    chosen: list[str] = []
    excluded: dict[str, str] = {}
    for name, field in fields.items():
        if name == recipe.target:
            continue
        if not _wanted(name, recipe):
            excluded[name] = "left out by the recipe"
        elif not field.usable:
            excluded[name] = field.reason
        elif name in OUTPUT_NAMES:
            raise InvalidData(f"Column {name!r} has the name of a model output; rename it, or list it under features.exclude.")
        else:
            chosen.append(name)
    if not chosen:
        told = "; ".join(f"{name} {reason}" for name, reason in excluded.items()) or "there is no other column"
        raise InvalidData(f"No column is left to predict {recipe.target!r} from: {told}.")
    return chosen, excluded


def read_classes(target: Column) -> tuple[NDArray[np.intp], tuple[str, ...], bool]:
    """Class numbers of the rows, class names, and whether they are whole numbers."""
    if target.categories is not None:
        used, codes = np.unique(target.values, return_inverse=True)
        names = tuple(target.categories[code] for code in used)
    else:
        used, codes = np.unique(target.values, return_inverse=True)
        names = tuple(str(int(value)) if target.integers else f"{value:.12g}" for value in used)
    counts = np.bincount(codes)
    if len(names) == 1:
        raise InvalidData(f"The target {target.name!r} is {names[0]!r} in every row; classification needs at least two classes.")
    if len(names) > _MOST_CLASSES or len(names) > len(codes) / 2:
        raise InvalidData(
            f"The target {target.name!r} has {len(names):,} distinct values in {len(codes):,} rows, too many for classes; "
            "choose another target, or set task to regression if it is a quantity."
        )
    if counts.min() < 2:
        rare = names[int(counts.argmin())]
        raise InvalidData(
            f"Class {rare!r} of the target {target.name!r} has one row only, so it cannot be both learned and tested; "
            "add rows of it, remove it, or merge it with another class."
        )
    return codes.astype(np.intp), names, target.integers


def _quantities(target: Column) -> tuple[NDArray[np.float64], tuple[str, ...], bool]:
    values = target.values.astype(np.float64)
    if values.min() == values.max():
        raise InvalidData(f"The target {target.name!r} is {values[0]:g} in every row; there is nothing to learn.")
    target.numbers()  # Raises where float32 cannot hold a value.
    return values, (), False


def _metric(task: Task, recipe: TableRecipe) -> str:
    known, default = (CLASSIFICATION_METRICS, "f1_macro") if task is Task.CLASSIFICATION else (REGRESSION_METRICS, "rmse")
    if recipe.metric is None:
        return default
    if recipe.metric not in known:
        raise InvalidRequest(f"The metric {recipe.metric!r} does not measure {task}; use one of {', '.join(known)}.")
    return recipe.metric


def column_docs(problem: Problem, profiles: Mapping[str, ColumnProfile]) -> list[dict[str, Any]]:
    """What a caller should know of each input: its kind, and the range or words that training saw."""
    docs: list[dict[str, Any]] = []
    for column in problem.features:
        profile = profiles[column.name]
        kind = problem.fields[column.name].kind
        entry: dict[str, Any] = {"name": column.name, "kind": str(kind), "datatype": "FP32" if kind is Kind.NUMBER else "BYTES"}
        if column.categories is None:
            entry |= {"min": profile.min, "max": profile.max, "mean": profile.mean}
        else:
            entry["values"] = [word for word, _ in profile.top]
        docs.append(entry | {"missing": profile.missing})
    return docs

"""What a fitted estimator takes: its columns, which of them are text, and values around which it decides.

Runs in the confined child only, on estimators whose class nobody vouches for: everything is looked for, nothing relied upon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.core.errors import Unsupported
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.importers.samples import Domain, Sample

MATRIX = "input"
TEXT = "text"


@dataclass(frozen=True, slots=True)
class Columns:
    """Inputs of the graph to be, and how the original takes them."""

    specs: tuple[TensorSpec, ...]
    domains: dict[str, Domain]
    framed: bool
    """Whether the original takes a data frame with these columns, not one matrix."""


def columns_of(estimator: Any, sample: Sample | None, given: tuple[TensorSpec, ...]) -> Columns:
    """The columns, from what the pusher says, the sample, or the estimator itself.

    Raises Unsupported when none of them tells.
    """
    words, numbers = _learned(estimator)
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    if given:
        return Columns(given, _domains(given, words, numbers), framed=len(given) > 1 or given[0].name in names)
    if names:
        typed = {spec.name: spec.datatype for spec in sample.specs()} if sample and sample.table else {}
        specs = tuple(_column(name, typed.get(name, Datatype.BYTES if name in words else Datatype.FP32)) for name in names)
        return Columns(specs, _domains(specs, words, numbers), framed=True)
    count = getattr(estimator, "n_features_in_", None)
    if isinstance(count, int | np.integer):
        return _matrix(int(count), words, numbers)
    if _reads_text(estimator):
        spec = TensorSpec(name=TEXT, datatype=Datatype.BYTES, shape=(-1, 1))
        return Columns((spec,), {TEXT: Domain(words=_sentences(estimator))}, framed=False)
    raise Unsupported("The estimator does not say how many columns it takes; give a --sample with rows for it, or --signature.")


def _matrix(count: int, words: dict[Any, tuple[str, ...]], numbers: dict[Any, tuple[float, float]]) -> Columns:
    texts = [place for place in words if isinstance(place, int)]
    if len(texts) == count:
        spec = TensorSpec(name=MATRIX, datatype=Datatype.BYTES, shape=(-1, count))
        return Columns((spec,), {MATRIX: Domain(words=tuple({word for some in words.values() for word in some}))}, framed=False)
    if texts:
        raise Unsupported("The estimator mixes text and numbers in one array; fit it on a data frame, whose columns have names.")
    spec = TensorSpec(name=MATRIX, datatype=Datatype.FP32, shape=(-1, count))
    known = [numbers.get(place, (0.0, 0.0)) for place in range(count)]
    if not any(spread for _, spread in known):
        return Columns((spec,), {}, framed=False)
    usual = float(np.median([spread for _, spread in known if spread]))
    centers, spreads = tuple(center for center, _ in known), tuple(spread or usual for _, spread in known)
    return Columns((spec,), {MATRIX: Domain(centers=centers, spreads=spreads)}, framed=False)


def _column(name: str, datatype: Datatype) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(-1, 1))


def _domains(
    specs: tuple[TensorSpec, ...], words: dict[Any, tuple[str, ...]], numbers: dict[Any, tuple[float, float]]
) -> dict[str, Domain]:
    found: dict[str, Domain] = {}
    for place, spec in enumerate(specs):
        if spec.datatype is Datatype.BYTES:
            found[spec.name] = Domain(words=(*(words.get(spec.name) or words.get(place) or ("a", "b")), "never seen"))
        elif spec.name in numbers or place in numbers:
            center, spread = numbers.get(spec.name) or numbers[place]
            found[spec.name] = Domain(centers=(center,), spreads=(spread or 1.0,))
    return found


def _learned(estimator: Any) -> tuple[dict[Any, tuple[str, ...]], dict[Any, tuple[float, float]]]:
    """By column name or place: the texts seen in fitting, and center and spread of numbers."""
    words: dict[Any, tuple[str, ...]] = {}
    numbers: dict[Any, tuple[float, float]] = {}
    for step, columns in _first_steps(estimator, None):
        _learn_words(step, columns, words)
        _learn_numbers(step, columns, numbers)
    return words, numbers


def _first_steps(estimator: Any, columns: list[Any] | None) -> Iterator[tuple[Any, list[Any] | None]]:
    """The steps that see raw columns, with those they see; None for all."""
    if hasattr(estimator, "transformers_"):
        names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        for _, step, chosen in estimator.transformers_:
            if not isinstance(step, str):
                yield from _first_steps(step, _resolved(chosen, names))
    elif getattr(estimator, "steps", None):
        for _, step in estimator.steps:
            if not isinstance(step, str) and step is not None:
                yield from _first_steps(step, columns)
                # An imputer, a scaler and the like keep the columns: the next step still sees them.
                if hasattr(step, "transformers_") or not _keeps_columns(step):
                    break
    elif getattr(estimator, "transformer_list", None):
        for _, step in estimator.transformer_list:
            if not isinstance(step, str):
                yield from _first_steps(step, columns)
    else:
        yield estimator, columns


def _keeps_columns(step: Any) -> bool:
    return hasattr(step, "statistics_")


def _resolved(chosen: Any, names: list[str]) -> list[Any]:
    if isinstance(chosen, str | int):
        return [chosen]
    if isinstance(chosen, slice):
        return list(range(*chosen.indices(len(names) or (chosen.stop or 0))))
    listed = list(chosen)
    if listed and all(isinstance(item, bool | np.bool_) for item in listed):
        listed = [place for place, wanted in enumerate(listed) if wanted]
    return [
        names[item] if isinstance(item, int | np.integer) and names else (str(item) if isinstance(item, str) else int(item))
        for item in listed
    ]


def _learn_words(step: Any, columns: list[Any] | None, words: dict[Any, tuple[str, ...]]) -> None:
    if _reads_text(step):
        for column in columns or ():
            words.setdefault(column, _sentences(step))
        return
    for place, values in enumerate(getattr(step, "categories_", None) or ()):
        if getattr(values, "dtype", None) is not None and values.dtype.kind in "OUS":
            found = tuple(str(value) for value in values.tolist() if isinstance(value, str))
            words[columns[place] if columns else place] = found or ("a",)
    statistics = getattr(step, "statistics_", None)
    if statistics is not None and getattr(statistics, "dtype", np.dtype(float)).kind in "OU":
        for place, value in enumerate(statistics):
            if isinstance(value, str):
                words.setdefault(columns[place] if columns else place, (value,))


def _learn_numbers(step: Any, columns: list[Any] | None, numbers: dict[Any, tuple[float, float]]) -> None:
    centers = next((getattr(step, name) for name in ("mean_", "center_", "data_min_") if getattr(step, name, None) is not None), None)
    spreads = next((getattr(step, name) for name in ("scale_", "data_range_") if getattr(step, name, None) is not None), None)
    found: dict[int, tuple[float, float]] = {}
    if centers is not None and spreads is not None and np.ndim(centers) == np.ndim(spreads) == 1 and len(centers) == len(spreads):
        found = {place: (float(center), abs(float(spread))) for place, (center, spread) in enumerate(zip(centers, spreads, strict=True))}
    elif columns is None:
        found = _thresholds(step)
    for place, pair in found.items():
        if np.isfinite(pair).all():
            numbers.setdefault(columns[place] if columns else place, pair)


def _thresholds(step: Any) -> dict[int, tuple[float, float]]:
    """Where the trees of a forest split, for each column."""
    trees = [tree.tree_ for tree in np.ravel(getattr(step, "estimators_", [step])) if hasattr(tree, "tree_")][:50]
    values: dict[int, list[float]] = {}
    for tree in trees:
        for place, threshold in zip(tree.feature.tolist(), tree.threshold.tolist(), strict=True):
            if place >= 0:
                values.setdefault(place, []).append(threshold)
    return {place: (float(np.median(some)), float(np.std(some))) for place, some in values.items()}


def _reads_text(estimator: Any) -> bool:
    while getattr(estimator, "steps", None):
        estimator = estimator.steps[0][1]
    return hasattr(estimator, "vocabulary_") and hasattr(estimator, "build_analyzer")


def _sentences(estimator: Any) -> tuple[str, ...]:
    while getattr(estimator, "steps", None):
        estimator = estimator.steps[0][1]
    words = sorted(str(word) for word in estimator.vocabulary_)[:400]
    random = np.random.default_rng(5)
    return tuple(" ".join(random.choice(words, size=int(random.integers(1, 12)))) for _ in range(64)) if words else ("a",)

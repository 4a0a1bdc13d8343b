"""Rows with right answers that somebody brought, to judge a version by that was not trained here.

Needs the extra ``train``: the job loads this only where labels were brought.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import InvalidData
from modelyard.core.tensors import Array
from modelyard.importers.samples import Inputs, Sample
from modelyard.optimize.answers import Labels, Reading, reading_of
from modelyard.optimize.base import Calibration, Lessons, Outputs
from modelyard.optimize.held_out import HeldOut
from modelyard.optimize.measure import answers
from modelyard.runtimes.base import LoadedModel

_MOST_ROWS = 50_000
_FEWEST_ROWS = 32
_SEED = 0


@dataclass(frozen=True)
class LabelledRows:
    """Three of four rows are for looking at and learning from; the others judge, and no pass sees them."""

    rows: HeldOut
    reading: Reading

    @classmethod
    def read(cls, sample: Sample, model: LoadedModel, target: str, metric: str) -> LabelledRows:
        """``target`` is the column of a table, or the array among tensors, that holds the right answers.

        Raises InvalidData or InvalidRequest with one sentence.
        """
        given, labels, present = _labels(sample, target)
        inputs = given.inputs(model.signature, _MOST_ROWS)
        count = min((len(array) for array in inputs.values()), default=0)
        kept = present[present < count]
        if len(kept) < _FEWEST_ROWS:
            raise InvalidData(f"{len(kept)} rows have a label in {target!r}, and at least {_FEWEST_ROWS} are needed to judge a model by.")
        inputs, labels = {name: array[kept] for name, array in inputs.items()}, labels[kept]
        reading = reading_of(model.signature, answers(model.infer, inputs, batched=True), labels, metric)
        truth = reading.truth(labels)
        if len(np.unique(truth)) < 2:
            raise InvalidData(f"The labels in {target!r} are the same in every row, so they tell nothing of a model.")
        return cls(_split(reading, inputs, truth), reading)

    @property
    def inputs(self) -> Inputs:
        return self.rows.inputs

    def calibration(self) -> Calibration:
        found = self.rows.calibration()
        measured, read = found.loss, self.reading.read
        return Calibration(found.inputs, (lambda parent, child: measured(read(parent), read(child))) if measured else None)

    def lessons(self) -> Lessons:
        return self.rows.lessons()

    def taking(self, names: list[str]) -> LabelledRows:
        return replace(self, rows=self.rows.taking(names))

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        return self.reading.measures(self.rows.metrics(self.reading.read(outputs)))

    def evaluation(self, outputs: Outputs) -> dict[str, Any]:
        return self.rows.evaluation(self.reading.read(outputs))

    def compare(self, parent: Outputs, child: Outputs) -> dict[str, Any]:
        return self.rows.compare(self.reading.read(parent), self.reading.read(child))


def _split(reading: Reading, inputs: Inputs, truth: NDArray[Any]) -> HeldOut:
    order = np.random.default_rng(_SEED).permutation(len(truth))
    judged, looked_at = np.sort(order[: len(order) // 4]), order[len(order) // 4 :]
    parts: list[dict[str, Array]] = [{name: array[rows] for name, array in inputs.items()} for rows in (judged, looked_at)]
    return HeldOut(
        task=reading.task,
        metric=reading.metric,
        seed=_SEED,
        inputs=parts[0],
        truth=truth[judged],
        training=parts[1],
        taught=truth[looked_at],
        classes=reading.classes,
    )


def _labels(sample: Sample, target: str) -> tuple[Sample, Labels, NDArray[np.intp]]:
    """The sample without its labels, these, and the numbers of the rows that have one."""
    if sample.table is not None:
        column = sample.table.column(target, "target")
        others = sample.table.select([name for name in sample.table.names if name != target])
        labels: Labels = column.values if column.is_number else column.texts()
        return Sample(table=others), labels, np.flatnonzero(~column.missing)
    arrays = dict(sample.arrays or {})
    if target not in arrays:
        raise InvalidData(f"The sample has no array {target!r} with labels. It has {', '.join(arrays)}.")
    found = arrays.pop(target)
    if found.size != len(found):
        raise InvalidData(f"The array {target!r} has the shape {list(found.shape)}; labels are one a row.")
    labels = found.reshape(-1) if found.dtype == object else found.reshape(-1).astype(np.float64)
    missing = labels == "" if labels.dtype == object else np.isnan(labels)
    return Sample(arrays=arrays), labels, np.flatnonzero(~missing)

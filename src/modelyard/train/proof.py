"""Proof that a graph answers as the model it was made of, on rows that training never saw.

Labels are judged by their rate of agreement and quantities by quantiles of the error, not by the maximum: a tree may jump at a rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from modelyard.datasets.table import MISSING, Column, Table
from modelyard.train.model import TrainedModel
from modelyard.train.problem import Problem, Task

LABEL_AGREEMENT = 0.995
"""The least share of equal labels."""
QUANTITY_ERROR = 1e-3
"""The largest 99 % quantile of the error, in standard deviations of the target."""
_MOST_ROWS = 5_000
_SINGLE_ROWS = 32
_CLOSE = 1e-4


@dataclass(frozen=True)
class Proof:
    """What was compared and found."""

    holds: bool
    reason: str
    """Why it does not hold; empty when it does."""
    report: Mapping[str, Any]


def open_graph(graph: bytes) -> ort.InferenceSession:
    """A session of one thread, whose sums do not depend on how many cores there are."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def feed(table: Table) -> dict[str, NDArray[Any]]:
    """A table's columns as the graph's inputs."""
    return {column.name: (column.numbers() if column.is_number else column.texts()).reshape(-1, 1) for column in table}


def prove(graph: bytes, model: TrainedModel, problem: Problem) -> Proof:
    """Compares graph and model on held-out rows, on the same rows with a value missing or unknown, and row by row."""
    session = open_graph(graph)
    held_out = problem.features.take(problem.test[:_MOST_ROWS])
    damaged = _damaged(held_out)
    report: dict[str, Any] = {"rows": len(held_out), "damaged_rows": len(damaged)}
    reasons: list[str] = []
    for name, table in (("held_out", held_out), ("damaged", damaged)):
        facts, reason = _compare(session, model, problem, table)
        report[name] = facts
        reasons.extend([f"{reason} on {name.replace('_', '-')} rows"] if reason else [])
    apart = _batch_difference(session, held_out.take(np.arange(min(len(held_out), _SINGLE_ROWS))), problem)
    report["single_row_difference"] = apart
    if apart > _CLOSE:
        reasons.append(f"rows in a batch differ from single ones by {apart:.3g}")
    report["holds"] = not reasons
    return Proof(not reasons, "; ".join(reasons), report)


def _compare(session: ort.InferenceSession, model: TrainedModel, problem: Problem, table: Table) -> tuple[dict[str, Any], str]:
    """Facts of the comparison, and what is wrong if anything is."""
    outputs = dict(zip((output.name for output in session.get_outputs()), session.run(None, feed(table)), strict=True))
    wanted = model.predict(table)
    if problem.task is Task.REGRESSION:
        error = np.abs(outputs["prediction"].reshape(-1).astype(np.float64) - wanted) / model.scale.deviation
        facts = _quantiles(error)
        return facts, f"the 99 % quantile of the error is {facts['p99']:.3g} deviations" if not facts["p99"] <= QUANTITY_ERROR else ""
    labels = problem.class_values()[wanted.argmax(axis=1)]
    agreement = float(np.mean(outputs["label"] == labels))
    errors = _quantiles(np.abs(outputs["probabilities"].astype(np.float64) - wanted).max(axis=1))
    return {
        "label_agreement": agreement,
        "probability_error": errors,
    }, f"only {agreement:.2%} of the labels agree" if agreement < LABEL_AGREEMENT else ""


def _quantiles(error: NDArray[np.float64]) -> dict[str, float]:
    p50, p99 = np.quantile(error, [0.5, 0.99])
    return {"p50": float(p50), "p99": float(p99), "max": float(error.max())}


def _damaged(table: Table) -> Table:
    """The table's first rows as callers may send them: in each row one column is missing, or holds a word never seen."""
    count = min(len(table), max(2 * len(table.columns), 64))
    columns: list[Column] = []
    for at, column in enumerate(table.take(np.arange(count))):
        values = column.values.copy()
        mine = np.arange(at, count, len(table.columns))
        if column.categories is None:
            values[mine] = np.nan
            columns.append(Column(column.name, values))
        else:
            categories = (*column.categories, "\u2400 never seen")
            values[mine[::2]] = MISSING
            values[mine[1::2]] = len(categories) - 1
            columns.append(Column(column.name, values, categories))
    return Table(tuple(columns), table.source)


def _batch_difference(session: ort.InferenceSession, table: Table, problem: Problem) -> float:
    """The largest difference between rows answered together and one by one (quantities relative to their size)."""
    name = "prediction" if problem.task is Task.REGRESSION else "probabilities"
    inputs = feed(table)
    (together,) = session.run([name], inputs)
    alone = np.concatenate([session.run([name], {key: value[at : at + 1] for key, value in inputs.items()})[0] for at in range(len(table))])
    size = max(1.0, float(np.abs(together).max()))
    return float(np.abs(together - alone).max()) / size

"""From a teacher's graph and the rows of its training to a student's graph with the same inputs and outputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.tensors import Array
from modelyard.datasets.prepare import PreparationOptions
from modelyard.optimize.base import TableRows, Work
from modelyard.train.cores import cores
from modelyard.train.distillation import Taught, answers_for, teach
from modelyard.train.proof import feed
from modelyard.train.recipes.student import Student, read_student

_AT_ONCE = 4_096


def distill(work: Work, given: dict[str, Any]) -> ModelProto:
    """The student; how it learned goes into the notes.

    Raises InvalidRequest for a student that cannot be, Unsupported for a teacher whose answers cannot be learned.
    """
    student = read_student(_over_defaults({**given, **work.student}))
    rows = work.lessons.table if work.lessons is not None else None
    if rows is None:
        raise Unsupported("A student learns from the rows of a table.")
    session = _session(work.model)
    taken = [value.name for value in session.get_inputs()]
    table = rows.table.select(taken)
    problem = rows.problem.with_features(taken)
    outputs = _answers(session, feed(table))
    try:
        teacher = answers_for(problem, outputs, _classes(work.model))
    except ValueError as error:
        raise Unsupported(f"The teacher's answers cannot be learned: {error}.") from None
    graph, facts = teach(Taught(table, teacher, rows.right), problem, student, _options(rows))
    work.notes["distillation"] = facts
    if [value.name for value in graph.graph.output] != [value.name for value in work.model.graph.output]:
        raise InvalidArtifact("The student has other outputs than its teacher, so it would not answer the same calls.")
    return graph


def _over_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """Fields of ``learning`` that are not said are the student's defaults and not those of every network."""
    learning = Student().learning.model_dump(mode="json")
    wanted = dict(given.get("learning") or {})
    optimizer = {**learning["optimizer"], **(wanted.pop("optimizer", None) or {})}
    return {**given, "learning": {**learning, **wanted, "optimizer": optimizer}}


def _options(rows: TableRows) -> PreparationOptions:
    found: PreparationOptions = rows.preparation
    return found


def _classes(model: ModelProto) -> tuple[str, ...]:
    told = {entry.key: entry.value for entry in model.metadata_props}
    return tuple(json.loads(told.get("modelyard.classes", "[]")))


def _session(model: ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = cores(), 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _answers(session: ort.InferenceSession, inputs: dict[str, Array]) -> dict[str, Array]:
    names = [output.name for output in session.get_outputs()]
    count = min(len(array) for array in inputs.values())
    parts = [
        session.run(names, {name: array[start : start + _AT_ONCE] for name, array in inputs.items()}) for start in range(0, count, _AT_ONCE)
    ]
    return {name: np.concatenate([part[at] for part in parts]) for at, name in enumerate(names)}

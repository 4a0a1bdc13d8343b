"""Which layers lose the most when they are quantized, and leaving out as few of them as the tolerance asks for.

Judged on calibration rows only: what the child is worth is measured later, on rows that nobody has looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, NodeProto

from modelyard.core.tensors import Array
from modelyard.optimize.base import Calibration

logger = logging.getLogger(__name__)
Quantize = Callable[[Sequence[str]], ModelProto]
"""The model with these nodes quantized, by name, and no others."""
_MOST_MEASURED = 64
"""Nodes that are each measured alone; of larger graphs those whose weights are the fewest come first, because they save the least."""
_MOST_TRIED = 16


@dataclass(frozen=True)
class Chosen:
    """What came of it."""

    model: ModelProto
    notes: dict[str, Any]


def leave_out_sensitive(
    parent: ModelProto, nodes: Sequence[NodeProto], quantize: Quantize, calibration: Calibration, most: float
) -> Chosen:
    """Quantizes all nodes; where that loses more than ``most``, all but the most damaged, as few as will do.

    Where even leaving out all but one is not enough, it is the model that loses the least.
    """
    before = answers_of(parent, calibration)
    names = [node.name for node in nodes]
    whole = quantize(names)
    lost = loss_between(calibration, before, answers_of(whole, calibration))
    notes: dict[str, Any] = {"quantized": len(names), "loss_on_training_rows": lost, "left_out": []}
    if lost <= most or len(names) < 2:
        return Chosen(whole, notes)
    damage = {name: _damage(before, answers_of(quantize([name]), calibration)) for name in names[:_MOST_MEASURED]}
    order = sorted(damage, key=lambda name: -damage[name])
    kinds = {node.name: node.op_type for node in nodes}
    best, left_out, smallest = whole, list[dict[str, Any]](), lost
    tried: list[dict[str, Any]] = []
    for count in range(1, min(len(order), len(names) - 1, _MOST_TRIED) + 1):
        gone = order[:count]
        candidate = quantize([name for name in names if name not in gone])
        now = loss_between(calibration, before, answers_of(candidate, calibration))
        tried.append({"node": gone[-1], "operator": kinds[gone[-1]], "damage": damage[gone[-1]], "loss_without_it": now})
        logger.info("without %s the loss on training rows is %.4g instead of %.4g", gone[-1], now, lost)
        if now < smallest:
            best, left_out, smallest = candidate, list(tried), now
        if now <= most:
            break
    notes |= {"quantized": len(names) - len(left_out), "left_out": left_out, "loss_of_all": lost, "loss_on_training_rows": smallest}
    return Chosen(best, notes | {"damage": damage})


def answers_of(model: ModelProto, calibration: Calibration) -> dict[str, Array]:
    """Every output for the calibration rows."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    taken = [value.name for value in session.get_inputs()]
    return dict(zip(names, session.run(names, {name: calibration.inputs[name] for name in taken}), strict=True))


def loss_between(calibration: Calibration, before: dict[str, Array], after: dict[str, Array]) -> float:
    """Of quality where right answers are known; else how much of the answers is not what it was."""
    return calibration.loss(before, after) if calibration.loss is not None else _damage(before, after)


def _damage(before: dict[str, Array], after: dict[str, Array]) -> float:
    """The share of an output's variance that is not what it was, of the worst output; of what is no number, the share that changed."""
    found = 0.0
    for name, values in before.items():
        other = after[name]
        if values.dtype.kind == "f":
            was = values.astype(np.float64)
            apart = float(np.mean((was - other.astype(np.float64)) ** 2))
            found = max(found, apart / max(float(np.var(was, axis=0).mean()), 1e-12))
        elif values.size:
            found = max(found, float(np.mean(values != other)))
    return found

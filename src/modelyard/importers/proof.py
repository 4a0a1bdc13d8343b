"""Proof that a converted model answers as the original, and what each needs for a row.

Labels are judged by their rate of agreement and numbers by quantiles of the error, in standard deviations of what the original
gives (probabilities: as they are): a tree may jump at a rounding, so the maximum says little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import ModelyardError, Unsupported
from modelyard.core.tensors import Array
from modelyard.importers.base import Predict
from modelyard.importers.samples import Inputs

LABEL_AGREEMENT = 0.995
"""The least share of equal labels."""
NUMBER_ERROR = 1e-3
"""The largest 99 % quantile of the error."""
_FLAT = 0.01
"""Answers that deviate from each other by less than this part of their size are judged by that part: less is rounding, mostly."""
_MEASURE_SECONDS = 0.5
_MEASURE_RUNS = 200
_REFUSALS = (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AttributeError, OSError)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was compared and found."""

    reason: str
    """Why the two are not the same; empty when they are."""
    report: dict[str, Any]
    notes: tuple[str, ...] = ()


def prove(original: Predict, model: Predict, inputs: Inputs, missing: Inputs, *, source: str, strict: bool) -> Proof:
    """Compares on ``inputs`` and, where the original takes them, on rows with missing values.

    ``source`` says where the inputs come from; without ``strict`` a difference on missing values is only told. Raises Unsupported when
    the converted model cannot compute what the original can.
    """
    rows = next(iter(inputs.values())).shape[0]
    outputs, reason = _compare(original(inputs), _computed(model, inputs))
    report: dict[str, Any] = {
        "rows": rows,
        "source": source,
        "outputs": outputs,
        "tolerance": {"label_agreement": LABEL_AGREEMENT, "number_error_p99": NUMBER_ERROR},
    }
    notes: list[str] = []
    if missing:
        report["missing_values"], failed = _compare_missing(original, model, missing)
        if strict:
            reason = reason or failed
        elif failed:
            notes.append(f"Rows with missing values are answered differently than by the original ({failed}), so do not send any.")
    return Proof(reason, report, tuple(notes))


def prove_resized(proof: Proof, original: Predict, model: Predict, inputs: Inputs) -> Proof:
    """The proof with what ``inputs`` of other sizes show: an exporter may have taken the example's for the only ones."""
    try:
        wanted = original(inputs)
    except _REFUSALS:
        return Proof(proof.reason, proof.report | {"other_sizes": "refused by the original"}, proof.notes)
    outputs, reason = _compare(wanted, _computed(model, inputs))
    return Proof(f"{reason} at other sizes than the example's" if reason else "", proof.report | {"other_sizes": outputs}, proof.notes)


def _compare_missing(original: Predict, model: Predict, missing: Inputs) -> tuple[Any, str]:
    try:
        wanted = original(missing)
    except _REFUSALS:
        return "refused by the original", ""
    outputs, reason = _compare(wanted, _computed(model, missing))
    return outputs, f"{reason} on rows with missing values" if reason else ""


def _computed(model: Predict, inputs: Inputs) -> dict[str, Array]:
    try:
        return model(inputs)
    except ModelyardError as error:
        raise Unsupported(f"The converted model fails where the original answers: {error.message}") from None


def _compare(wanted: dict[str, Array], found: dict[str, Array]) -> tuple[dict[str, Any], str]:
    facts: dict[str, Any] = {}
    reasons: list[str] = []
    for name, array in wanted.items():
        other = found[name]
        if array.size != other.size:
            raise Unsupported(f"The converted model gives {list(other.shape)} for {name!r}, the original {list(array.shape)}.")
        facts[name], reason = _compared(name, np.asarray(array).reshape(-1), np.asarray(other).reshape(-1), array)
        reasons += [reason] if reason else []
    return facts, "; ".join(reasons)


def _compared(name: str, wanted: NDArray[Any], found: NDArray[Any], whole: Array) -> tuple[dict[str, float], str]:
    if wanted.dtype.kind not in "fc":
        agreement = float(np.mean(_texts(wanted) == _texts(found))) if wanted.size else 1.0
        bad = agreement < LABEL_AGREEMENT
        return {"agreement": agreement}, f"only {agreement:.2%} of {name!r} agree" if bad else ""
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(a - b) / _scale(name, whole)
    same = (np.isnan(a) & np.isnan(b)) | (a == b)
    error = np.where(same, 0.0, np.where(np.isfinite(error), error, np.inf))
    p50, p99 = (float(value) for value in np.quantile(error, [0.5, 0.99], method="higher")) if error.size else (0.0, 0.0)
    facts = {"error_p50": p50, "error_p99": p99, "error_max": float(error.max(initial=0.0))}
    return facts, "" if p99 <= NUMBER_ERROR else f"the 99 % quantile of the error of {name!r} is {p99:.3g}"


def _scale(name: str, values: Array) -> float:
    if name == "probabilities":
        return 1.0
    finite = values[np.isfinite(values)].astype(np.float64)
    return max(float(finite.std()), _FLAT * float(np.abs(finite).max())) or 1.0 if finite.size else 1.0


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in values.tolist()], dtype=object)


def median_us(call: Callable[[], object]) -> float:
    """Median time of a call, after a first one."""
    call()
    taken: list[int] = []
    end = time.monotonic() + _MEASURE_SECONDS
    while len(taken) < _MEASURE_RUNS and (len(taken) < 3 or time.monotonic() < end):
        began = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - began)
    return statistics.median(taken) / 1000

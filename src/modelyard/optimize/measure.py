"""Two models side by side on this machine: time in turns, so that whatever else the machine does meets both; and answers."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelyard.core.tensors import Array
from modelyard.registry.trial import resident_bytes
from modelyard.runtimes.base import LoadedModel

Outputs = dict[str, Array]
Infer = Callable[[dict[str, Array]], Outputs]
_ROUNDS = 9
_SECONDS = 0.08
_MOST_CALLS = 200
_CHUNK = 1024
_LOOK_SECONDS = 0.0005


@dataclass
class Race:
    """Microseconds of calls of both, a list a round."""

    parent: list[list[float]] = field(default_factory=list)
    child: list[list[float]] = field(default_factory=list)

    def report(self) -> dict[str, float]:
        """How the child's time relates to the parent's. ``ratio_low`` is what most rounds exceed: noise alone does not."""
        ratios = [float(np.median(b) / np.median(a)) for a, b in zip(self.parent, self.child, strict=True)]
        return {"ratio": float(np.median(ratios)), "ratio_low": float(np.quantile(ratios, 0.25))}


def race(parent: Infer, child: Infer, inputs: dict[str, Array], *, rounds: int = _ROUNDS, seconds: float = _SECONDS) -> Race:
    """Calls both in turns, each first every other time."""
    found = Race()
    parent(inputs), child(inputs)
    for _ in range(rounds):
        found.parent.append([])
        found.child.append([])
        pair = [(parent, found.parent[-1]), (child, found.child[-1])]
        end = time.perf_counter() + seconds
        while len(pair[0][1]) < 3 or (time.perf_counter() < end and len(pair[0][1]) < _MOST_CALLS):
            for infer, times in pair:
                start = time.perf_counter_ns()
                infer(inputs)
                times.append((time.perf_counter_ns() - start) / 1000)
            pair.reverse()
    return found


def latency(rounds: list[list[float]], rows: int) -> dict[str, float]:
    """Quantiles of a call, and the rows a second of one thread."""
    every = np.concatenate([np.array(times) for times in rounds])
    return {
        "p50_us": round(float(np.quantile(every, 0.5)), 1),
        "p99_us": round(float(np.quantile(every, 0.99)), 1),
        "rows_per_second": round(rows * 1e6 / float(every.mean()), 1),
    }


def peak_memory(load: Callable[[], LoadedModel], inputs: dict[str, Array]) -> int:
    """The most bytes by which this process grew while a model was loaded and called once.

    Looked at from a thread beside it, so what comes and goes within half a millisecond may be missed.
    """
    _trim()
    before = most = resident_bytes()
    ended = threading.Event()

    def look() -> None:
        nonlocal most
        while not ended.wait(_LOOK_SECONDS):
            most = max(most, resident_bytes())

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        model = load()
        model.infer(inputs)
        most = max(most, resident_bytes())
        model.close()
    finally:
        ended.set()
        watching.join()
    return most - before


def _trim() -> None:
    """What was freed goes back to the system, where the C library can do that, so that it cannot be taken again unseen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def rows_of(inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
    """``count`` rows, from the beginning again where there are fewer."""
    return {name: array[np.arange(count) % len(array)] for name, array in inputs.items()}


def answers(infer: Infer, inputs: Mapping[str, Array], *, batched: bool) -> Outputs:
    """Every output for all rows."""
    if not batched:
        return infer(dict(inputs))
    count = min(len(array) for array in inputs.values())
    parts = [infer({name: array[start : start + _CHUNK] for name, array in inputs.items()}) for start in range(0, count, _CHUNK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def difference(parent: Outputs, child: Outputs) -> dict[str, dict[str, Any]]:
    """By output: the largest difference of numbers, absolute and relative to the parent's size; of everything else, the share of equals."""
    found: dict[str, dict[str, Any]] = {}
    for name, before in parent.items():
        after = child[name]
        if before.dtype.kind != "f" or before.shape != after.shape:
            same = before.shape == after.shape
            found[name] = {"agreement": float(np.mean(before == after)) if same and before.size else float(same)}
            continue
        a, b = before.astype(np.float64), after.astype(np.float64)
        equal = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            apart = np.where(equal, 0.0, np.abs(a - b))
        largest = float(np.nan_to_num(apart, nan=np.finfo(np.float64).max, posinf=np.finfo(np.float64).max).max(initial=0.0))
        size = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        found[name] = {"largest": largest, "relative": largest / size if size else largest}
    return found

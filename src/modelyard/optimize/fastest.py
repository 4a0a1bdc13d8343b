"""Which of several models takes the least processor time on this machine: measured in turns, so that whatever else it does meets all."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto

from modelyard.core.tensors import Array
from modelyard.optimize.measure import rows_of
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.onnx import RUNTIME

_BATCHES = (1, 32)
_SECONDS = 0.012
"""Of processor time a model and turn, and at least one call."""
_HEATS, _FINALS = 3, 5
_IN_THE_FINAL = 1.2
"""Those that take up to so many times the quickest's time after the heats are measured further."""


def processor_seconds(models: Mapping[str, ModelProto], inputs: Mapping[str, Array]) -> dict[str, float]:
    """Of a call with one thread, by name: the geometric mean over one row and a batch, of the quickest turn of each.

    Processor time and the quickest turn, because what others do on the machine only ever adds.
    """
    with tempfile.TemporaryDirectory() as folder:
        loaded = {name: _loaded(model, Path(folder) / str(at)) for at, (name, model) in enumerate(models.items())}
        try:
            return _raced(loaded, [rows_of(inputs, rows) for rows in _BATCHES])
        finally:
            for model in loaded.values():
                model.close()


def _loaded(model: ModelProto, folder: Path) -> LoadedModel:
    """As a worker has it."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return RUNTIME.load(folder, "model.onnx", LoadOptions(threads=1))


def _raced(models: Mapping[str, LoadedModel], batches: list[dict[str, Array]]) -> dict[str, float]:
    best = {name: [math.inf] * len(batches) for name in models}
    left = list(models)
    for turn in range(_HEATS + _FINALS):
        if turn == _HEATS:
            quickest = min(_mean(best[name]) for name in left)
            left = [name for name in left if _mean(best[name]) <= quickest * _IN_THE_FINAL]
        for name in left if turn % 2 else reversed(left):
            for at, inputs in enumerate(batches):
                best[name][at] = min(best[name][at], _seconds(models[name], inputs, warm=not turn))
    return {name: _mean(times) for name, times in best.items()}


def _seconds(model: LoadedModel, inputs: dict[str, Array], *, warm: bool) -> float:
    if warm:
        model.infer(inputs)
    calls, began = 0, time.thread_time()
    while not calls or time.thread_time() - began < _SECONDS:
        model.infer(inputs)
        calls += 1
    return (time.thread_time() - began) / calls


def _mean(times: list[float]) -> float:
    return math.exp(sum(map(math.log, times)) / len(times))

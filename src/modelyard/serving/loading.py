"""From a version's row to a replica that is warm and measured; everything here runs outside the event loop."""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Protocol

from modelyard.core.deployments import ServedVersion
from modelyard.core.errors import InvalidArtifact, ModelyardError
from modelyard.core.models import Artifact
from modelyard.core.tensors import Array
from modelyard.registry.trial import find_guess, make_inputs
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.serving.batching import Runs
from modelyard.serving.replica import Replica, Timing, rows_are_alike

_ROWS = 16
_RUNS = 5
_LONG_US = 1000.0
"""From here on a run is long enough that fetching its memory anew counts, and versions like it are few in one worker."""
_ENOUGH_US = 50_000.0
"""A run that takes longer is not repeated to be measured."""


class Artifacts(Protocol):
    """Where a version's files come from; see ``registry.artifacts.ArtifactCache``."""

    def materialize(self, artifact: Artifact) -> Path:
        """The folder with the artifact's files."""


class VersionLoader:
    """Loads versions; ``threads`` is for each run of each. May be used from any thread."""

    def __init__(self, artifacts: Artifacts, threads: int = 1) -> None:
        self._artifacts = artifacts
        self._threads = threads

    def load(self, version: ServedVersion) -> Replica:
        """A replica that has answered a trial call.

        Raises ModelyardError with the reason when it cannot be had.
        """
        artifact = version.artifact
        folder = self._artifacts.materialize(artifact)
        options = LoadOptions(threads=self._threads, keep_memory=version.profile.single_us >= _LONG_US)
        model = RUNTIMES.get(artifact.format).load(folder, artifact.entry, options)
        try:
            if not _same_tensors(model, version):
                raise InvalidArtifact(f"The files of {version.model}@{version.number} no longer have the signature they were stored with.")
            return Replica(model, measure(model, batched=version.profile.row_independent))
        except ModelyardError:
            model.close()
            raise


def _same_tensors(model: LoadedModel, version: ServedVersion) -> bool:
    found, wanted = model.signature, version.signature
    return [(spec.name, spec.datatype) for spec in (*found.inputs, *found.outputs)] == [
        (spec.name, spec.datatype) for spec in (*wanted.inputs, *wanted.outputs)
    ]


def measure(model: LoadedModel, *, batched: bool) -> Timing:
    """Runs the model on made-up input, which also warms it, and says how long runs take.

    Raises ModelyardError when it does not run.
    """
    guess = find_guess(model)
    single = make_inputs(model.signature, guess, 1)
    single_us = _best_us(model, single)
    uniform = rows_are_alike(model.signature)
    size = 1 if uniform else max(1, sum(array.size for array in single.values()))
    if not batched or not model.signature.batched:
        return Timing(0.0, single_us / size) if not uniform else Timing(single_us, 0.0)
    batch_us = _best_us(model, make_inputs(model.signature, guess, _ROWS))
    row_us = max(0.0, (batch_us - single_us) / (_ROWS - 1))
    return Timing(max(0.0, single_us - row_us), row_us / size)


def _best_us(model: LoadedModel, inputs: dict[str, Array]) -> float:
    best = float("inf")
    for _ in range(_RUNS):
        began = time.perf_counter_ns()
        model.infer(inputs)
        best = min(best, (time.perf_counter_ns() - began) / 1000)
        if best > _ENOUGH_US:
            break
    return best


def unload(replica: Runs) -> None:
    """Closes a replica and gives its memory back to the system, which glibc would otherwise keep."""
    replica.close()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

"""What the confined child does with a model: read, load, run on made-up input, measure.

Runs in the probe's process only: it may import heavy libraries, and it may be killed at any line.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.core.errors import InvalidArtifact, ModelyardError, Unavailable
from modelyard.core.models import Profile
from modelyard.core.signature import Dimension, Signature, TensorSpec
from modelyard.core.tensors import NUMPY, Array, Datatype
from modelyard.registry.validate import ProbeRequest, ProbeResult
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import CHECKS, RUNTIMES

_MEASURE_SECONDS = 0.25
_MEASURE_RUNS = 30
_TOLERANCE = {Datatype.FP16: 2e-2, Datatype.BF16: 2e-2, Datatype.FP32: 1e-4, Datatype.FP64: 1e-6}
Inputs = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Guess:
    """How to make up what a signature leaves open."""

    size: int
    """Of every dimension that varies, but for the batch."""
    texts: tuple[str, ...]


# Sequence models want short inputs, convolutions long enough ones; texts may be parsed as numbers inside the graph.
# Integers are 0 and 1 always: they may index a table of unknown length.
GUESSES = tuple(Guess(size, texts) for size in (8, 1, 32, 224) for texts in (("a", "b", ""), ("0", "1")))


def prepare(request: ProbeRequest) -> None:
    """Imports what loading the format takes, before limits are set; nothing of the model is touched."""
    RUNTIMES.get(request.format)
    if request.format in CHECKS:
        CHECKS.get(request.format)


def run(request: ProbeRequest) -> ProbeResult:
    """The whole trial.

    Raises InvalidArtifact.
    """
    folder = Path(request.folder)
    if request.format in CHECKS:
        CHECKS.get(request.format)(folder, request.entry)
    before = resident_bytes()
    model = RUNTIMES.get(request.format).load(folder, request.entry, LoadOptions(threads=1))
    try:
        signature = model.signature
        if not signature.inputs:
            raise InvalidArtifact("The model has no inputs, so there is nothing to call it with.")
        if not model.tried:
            return ProbeResult(signature=signature, profile=Profile())
        guess = find_guess(model)
        profile = measure(model, guess, request.batch_rows) if signature.batched else _measure_single(model, guess)
        grown = max(0, resident_bytes() - before)
        return ProbeResult(signature=signature, profile=_with_memory(profile, grown))
    finally:
        model.close()


def find_guess(model: LoadedModel) -> Guess:
    """The first way of making up input that the model accepts.

    Raises InvalidArtifact with the model's first complaint when there is none.
    """
    complaint = ""
    tried: set[str] = set()
    for guess in GUESSES:
        inputs = make_inputs(model.signature, guess, 1)
        shown = str([(name, array.shape, array.dtype.kind == "O" and guess.texts) for name, array in inputs.items()])
        if shown in tried:
            continue
        tried.add(shown)
        try:
            model.infer(inputs)
        except Unavailable as error:
            raise InvalidArtifact("The model wants more memory than a trial may use; make it smaller.") from error
        except ModelyardError as error:
            complaint = complaint or " ".join(error.message.split())[:500]
        else:
            return guess
    raise InvalidArtifact(f"The model cannot run on trial input that fits its signature: {complaint}")


def make_inputs(signature: Signature, guess: Guess, rows: int) -> Inputs:
    """Made-up input of ``rows`` rows, the same for the same arguments."""
    sizes = {spec.shape[0]: rows for spec in signature.inputs} if signature.batched else {}
    inputs = {}
    for seed, spec in enumerate(signature.inputs):
        first = (rows,) if signature.batched else ()
        rest = spec.shape[len(first) :]
        # A dimension that varies is of the same size wherever its name stands; -1 is no name.
        varying = [size if isinstance(size, int) and size >= 0 else _size(size, sizes, guess) for size in rest]
        inputs[spec.name] = _tensor(spec.datatype, (*first, *varying), guess.texts, seed)
    return inputs


def measure(model: LoadedModel, guess: Guess, rows: int) -> Profile:
    """Times, and whether rows run together give what they give alone."""
    batch = make_inputs(model.signature, guess, rows)
    single = _rows(batch, 0, 1)
    single_us = _median_us(lambda: model.infer(single))
    try:
        independent = model.joins and all(agrees_with_singles(model, _rows(batch, 0, count)) for count in (rows, 3))
        batch_us = _median_us(lambda: model.infer(batch))
    except ModelyardError:
        # The signature promises a batch that the graph refuses: it can only be called row by row.
        return Profile(row_independent=False, single_us=single_us)
    return Profile(row_independent=independent, single_us=single_us, batch_us=batch_us, batch_rows=rows)


def agrees_with_singles(model: LoadedModel, batch: Inputs) -> bool:
    """Whether every output of a batch has its rows, and each row is what the row alone gives, within tolerance."""
    count = next(iter(batch.values())).shape[0]
    together = model.infer(batch)
    if any(not array.ndim or array.shape[0] != count for array in together.values()):
        return False
    for row in range(count):
        alone = model.infer(_rows(batch, row, row + 1))
        for spec in model.signature.outputs:
            if not _close(spec, together[spec.name][row : row + 1], alone[spec.name]):
                return False
    return True


def resident_bytes() -> int:
    """Memory of this process."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _measure_single(model: LoadedModel, guess: Guess) -> Profile:
    inputs = make_inputs(model.signature, guess, 1)
    return Profile(row_independent=False, single_us=_median_us(lambda: model.infer(inputs)))


def _size(dimension: Dimension, sizes: dict[Dimension, int], guess: Guess) -> int:
    return sizes.get(dimension, guess.size) if isinstance(dimension, str) else guess.size


def _tensor(datatype: Datatype, shape: tuple[int, ...], texts: tuple[str, ...], seed: int) -> Array:
    random = np.random.default_rng(seed)
    if datatype is Datatype.BYTES:
        made = np.empty(shape, dtype=object)
        made[...] = np.array(texts, dtype=object)[random.integers(0, len(texts), size=shape)]
        return made
    if datatype.is_float:
        return np.asarray(random.standard_normal(shape), NUMPY[datatype])
    return np.asarray(random.integers(0, 2, size=shape), NUMPY[datatype])


def _rows(inputs: Inputs, start: int, end: int) -> Inputs:
    return {name: array[start:end] for name, array in inputs.items()}


def _close(spec: TensorSpec, a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    tolerance = _TOLERANCE.get(spec.datatype)
    if tolerance is None:
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a.astype(np.float64), b.astype(np.float64), rtol=tolerance, atol=tolerance / 10, equal_nan=True))


def _median_us(call: Callable[[], object]) -> float:
    return statistics.median(_timed(call)) / 1000


def _timed(call: Callable[[], object]) -> Iterator[int]:
    call()
    end = time.monotonic() + _MEASURE_SECONDS
    for _ in range(_MEASURE_RUNS):
        start = time.perf_counter_ns()
        call()
        yield time.perf_counter_ns() - start
        if time.monotonic() > end:
            return


def _with_memory(profile: Profile, grown: int) -> Profile:
    return Profile(
        row_independent=profile.row_independent,
        single_us=round(profile.single_us, 1),
        batch_us=round(profile.batch_us, 1),
        batch_rows=profile.batch_rows,
        memory_bytes=grown,
    )

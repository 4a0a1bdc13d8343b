"""A loaded copy of a version inside this process: runs batches, knows how long they take, and never raises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from modelyard.core.errors import ModelyardError, Unsupported
from modelyard.core.generation import Cancel, Emit, GenerateRequest, TokenChunk
from modelyard.core.inference import InferDone, InferRequest
from modelyard.core.runs import Run, Share
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array
from modelyard.runtimes.base import GenerativeModel, LoadedModel
from modelyard.runtimes.edge import attempt
from modelyard.serving.statistics import CallStatistics

_LEARN: Final = 0.1
"""Share of a new measurement in the running estimate."""


class Waiting:
    """One call on its way through a replica; its inputs fit the signature."""

    __slots__ = ("arrived_ns", "done", "inputs", "outputs", "request", "rows", "statistics")

    def __init__(  # noqa: PLR0917  # on every call's path, where keywords cost time
        self,
        inputs: dict[str, Array],
        outputs: tuple[str, ...],
        rows: int,
        arrived_ns: int,
        request: InferRequest,
        statistics: CallStatistics,
        done: InferDone,
    ) -> None:
        self.inputs, self.outputs, self.rows, self.arrived_ns = inputs, outputs, rows, arrived_ns
        self.request = request
        """Its deadline may still be moved, when the client goes away."""
        self.statistics = statistics
        self.done = done


class Timing(NamedTuple):
    """How long a run takes: a fixed part and one for each unit of size (rows, or elements where rows vary)."""

    fixed_us: float
    unit_us: float


Outcome = Mapping[str, Array] | ModelyardError


class Result(NamedTuple):
    """What came of a batch: the outcome of each call, in order, the time it took, and the time to estimate the next by."""

    outcomes: list[Outcome]
    taken_us: int
    computed_us: int


class Replica:
    """Runs a loaded model on batches. ``run`` may be called from several threads at once."""

    def __init__(self, model: LoadedModel, timing: Timing) -> None:
        self.model = model
        self.signature: Signature = model.signature
        self.uniform = rows_are_alike(model.signature)
        """Whether every row of every call has the same size, so that no shapes need comparing."""
        self._timing = timing
        self._factor = 1.0
        self.stretch = 1.0
        """How much longer runs in threads last than they compute, because others use the cores too."""
        self._names = [spec.name for spec in model.signature.inputs]
        self._extras = frozenset(spec.name for spec in model.signature.extras)

    def size(self, inputs: dict[str, Array], rows: int) -> int:
        """A call's size in the units of its timing."""
        return rows if self.uniform else sum([array.size for array in inputs.values()])

    def estimate_us(self, size: int) -> float:
        """How long a run of this size is expected to take."""
        return (self._timing.fixed_us + self._timing.unit_us * size) * self._factor

    def learn(self, size: int, taken_us: float) -> None:
        """Corrects the estimate by what a run really took.

        One slow run may be the machine's hiccup, so the estimate at most doubles at once; slow runs in a row still count quickly.
        """
        factor = self._factor
        ratio = taken_us / max(1.0, self._timing.fixed_us + self._timing.unit_us * size)
        self._factor = max(0.2, min(factor + _LEARN * (ratio - factor), 2 * factor))

    def run(self, batch: list[Waiting]) -> Result:
        """Runs a batch on the event loop's own thread.

        When a shared run fails, every call is run alone, so that one bad row fails only its own call.
        """
        began = time.perf_counter_ns()
        together = self._together(batch) if len(batch) > 1 else None
        outcomes = together or [self._alone(call) for call in batch]
        taken_us = (time.perf_counter_ns() - began) // 1000
        return Result(outcomes, taken_us, taken_us)

    refusal = None

    def concurrent(self, most: int) -> int:
        """As many as the threads that all versions share allow."""
        return most

    def begin(
        self, batch: list[Waiting], size: int, inline_us: float, executor: Executor, ended: Callable[[Result], None]
    ) -> Result | None:
        """Runs a batch here where that is short enough, otherwise in a thread; see ``batching.Runs``."""
        if self.estimate_us(size) <= inline_us:
            return self.run(batch)
        loop = asyncio.get_running_loop()
        executor.submit(self.run_apart, batch).add_done_callback(lambda done: loop.call_soon_threadsafe(ended, done.result()))
        return None

    def run_apart(self, batch: list[Waiting]) -> Result:
        """Runs a batch on another thread."""
        began = time.thread_time_ns()
        result = self.run(batch)
        # The wall clock would also count waiting for the interpreter, and a version that was slow once would seem slow for ever.
        computed_us = (time.thread_time_ns() - began) // 1000
        self.stretch += _LEARN * (result.taken_us / max(1, computed_us) - self.stretch)
        return Result(result.outcomes, result.taken_us, computed_us)

    def _alone(self, call: Waiting) -> Outcome:
        outcome = self.compute(call.inputs, call.outputs)
        if call.outputs and not isinstance(outcome, ModelyardError):
            return {name: outcome[name] for name in call.outputs}
        return outcome

    def _together(self, batch: list[Waiting]) -> list[Outcome] | None:
        outputs = self.compute(join(batch))
        return None if isinstance(outputs, ModelyardError) else split(batch, outputs)

    def compute(self, inputs: dict[str, Array], wanted: tuple[str, ...] = ()) -> dict[str, Array] | ModelyardError:
        """What the model makes of inputs; whatever it raises is an outcome."""
        if wanted and self._extras.issuperset(wanted):
            return attempt(partial(self.model.extra, inputs, wanted))
        return attempt(partial(self.model.infer, inputs))

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        """Begins a generation; ``emit`` is called on the event loop. Raises Unsupported for a model that does not generate."""
        if not isinstance(self.model, GenerativeModel):
            raise Unsupported("This deployment does not generate text; call it with its inputs.")
        loop = asyncio.get_running_loop()
        return self.model.generate(request, partial(_on, loop, emit))

    def close(self) -> None:
        """Frees the model; nothing may run any more."""
        self.model.close()


def _on(loop: asyncio.AbstractEventLoop, emit: Emit, item: TokenChunk | ModelyardError) -> None:
    loop.call_soon_threadsafe(emit, item)


def join(batch: list[Waiting]) -> dict[str, Array]:
    """The inputs of several calls as those of one."""
    return {name: np.concatenate([call.inputs[name] for call in batch]) for name in batch[0].inputs}


def split(batch: list[Waiting], outputs: Mapping[str, Array]) -> list[Outcome] | None:
    """What each call of a shared run gets of its outputs; None when they do not have the calls' rows."""
    rows = sum([call.rows for call in batch])
    if any(not array.shape or array.shape[0] != rows for array in outputs.values()):
        return None
    if any(call.outputs and not outputs.keys() >= set(call.outputs) for call in batch):
        return None  # extras, which each call gets by itself
    run, names = Run(outputs), tuple(outputs)
    outcomes: list[Outcome] = []
    at = 0
    for call in batch:
        end = at + call.rows
        outcomes.append(Share(run, at, end, call.outputs or names))
        at = end
    return outcomes


def rows_are_alike(signature: Signature) -> bool:
    """Whether the signature fixes every dimension but the first and asks for every input."""
    return all(not spec.optional and all(isinstance(size, int) and size >= 0 for size in spec.shape[1:]) for spec in signature.inputs)


def may_batch(signature: Signature) -> bool:
    """Whether rows of several calls can be joined at all: the first dimension, where it has a name, stands nowhere else."""
    if not signature.batched:
        return False
    specs = (*signature.inputs, *signature.outputs)
    first = {spec.shape[0] for spec in specs if isinstance(spec.shape[0], str)}
    return not any(size in first for spec in specs for size in spec.shape[1:])

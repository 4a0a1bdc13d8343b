"""The job kind ``predict``: answers every row of a table with one version, on all cores that the job has.

An attempt that follows another answers only the shards that are not there yet.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from modelyard.core.errors import InvalidData, JobFailed, ModelyardError, Unavailable
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array, Datatype
from modelyard.engines.cluster import Cluster, on_ray
from modelyard.registry.artifacts import check_path
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.scoring.metering import Meter
from modelyard.scoring.overview import overview
from modelyard.scoring.parts import Parts, write_result
from modelyard.scoring.source import Source, column_types, open_source, to_inputs
from modelyard.scoring.spec import ScoringSpec

logger = logging.getLogger(__name__)
_AT_ONCE = 4_096
"""Rows that the model computes together: enough to be quick, few enough to stay in the cache."""
_AHEAD = 2
"""Shards waiting for each core."""


class Context(Protocol):
    """What a job's process gives to the work (``jobs/worker.py``)."""

    spec: dict[str, Any]
    folder: Path
    inputs: dict[str, Path]
    """``data``, and the version's files by their place in the spec, counted from 0."""

    @property
    def output(self) -> Path: ...

    @property
    def state(self) -> Path: ...

    def report(self, stage: str, fraction: float = -1.0, message: str = "") -> None:
        """Tells how far the work is."""


def run(context: Context, meter: Meter, cluster: Cluster) -> dict[str, Any]:
    """Gives ``file``, ``rows``, ``rows_per_second``, ``resumed_shards``, and in ``answers`` an overview; the result is in ``output``.

    Raises ModelyardError with one sentence for whatever the owner can mend.
    """
    spec = msgspec.convert(context.spec, ScoringSpec)
    with _loaded(_laid_out(context, spec), spec, cluster) as model:
        signature = model.signature
        types = column_types(signature, spec.reference)
        wanted = [*types, *(name for name in spec.keep if name not in types)]
        kept = {name: pa.string() for name in spec.keep if name not in types}
        source = open_source(context.inputs["data"], spec.filename, wanted, types | kept, spec.rows)
        parts = Parts(context.state / "shards")
        done = parts.done()
        if done:
            logger.info("%d shards are answered already", sum(done))
        answered = _Answering(model, spec, parts, meter, context.report)
        count = answered.run(source, done)
    context.report("write", 0.96, "writing the result in the input's order")
    file, rows = write_result(parts, count, context.output, spec.form or source.form, partitioned=spec.partitioned)
    if source.rows >= 0 and rows != source.rows:
        raise JobFailed(f"The result has {rows:,} rows and the table {source.rows:,}; please report this.")
    if not rows:
        raise InvalidData(f"{spec.filename} has no rows.")
    return {
        "file": file.name,
        "rows": rows,
        "shards": count,
        "resumed_shards": sum(done),
        "rows_per_second": answered.rows / max(answered.seconds, 1e-9),
        "answers": overview(lambda: parts.tables(count), signature),
    }


@contextmanager
def _loaded(folder: Path, spec: ScoringSpec, cluster: Cluster) -> Iterator[LoadedModel]:
    """The model, here or on a cluster."""
    if spec.engine == "ray":
        with on_ray("modelyard.scoring.spread:spread", cluster)(cluster, folder, spec.entry, _cores()) as model:
            yield model
        return
    model = RUNTIMES.get("onnx").load(folder, spec.entry, LoadOptions(threads=1, keep_memory=True))
    try:
        yield model
    finally:
        model.close()


class _Answering:
    """Shards through the model, a few at a time."""

    def __init__(
        self, model: LoadedModel, spec: ScoringSpec, parts: Parts, meter: Meter, report: Callable[[str, float, str], None]
    ) -> None:
        self._model, self._spec, self._parts, self._meter, self._report = model, spec, parts, meter, report
        self.rows = 0
        self.seconds = 0.0

    def run(self, source: Source, done: list[bool]) -> int:
        """How many shards there are."""
        began = time.perf_counter()
        at_once = max(_cores(), self._model.concurrency)
        waiting: set[Future[int]] = set()
        count = 0
        with ThreadPoolExecutor(at_once) as threads:
            for number, batch, share in source.shards(done):
                count = number + 1
                if batch is None:
                    continue
                waiting.add(threads.submit(self._answer, number, batch))
                if len(waiting) >= _AHEAD * at_once:
                    waiting = self._settled(waiting)
                    self.seconds = time.perf_counter() - began
                    told = f"{self.rows:,} rows answered, {self.rows / max(self.seconds, 1e-9):,.0f} a second"
                    self._report("answer", 0.02 + 0.93 * share, told)
            while waiting:
                waiting = self._settled(waiting)
        self.seconds = time.perf_counter() - began
        return count

    def _settled(self, waiting: set[Future[int]]) -> set[Future[int]]:
        ended, others = wait(waiting, return_when=FIRST_COMPLETED)
        self.rows += sum(future.result() for future in ended)
        return others

    def _answer(self, number: int, batch: pa.RecordBatch) -> int:
        signature = self._model.signature
        inputs = self._blamed(number, lambda: to_inputs(batch, signature))
        answers = [self._infer(number, inputs, at, min(_AT_ONCE, batch.num_rows - at)) for at in range(0, batch.num_rows, _AT_ONCE)]
        outputs = {spec.name: np.concatenate([answer[spec.name] for answer in answers]) for spec in signature.outputs}
        columns = {name: batch.column(name) for name in self._spec.keep} | _columns(outputs, signature)
        self._parts.put(number, pa.table(columns))
        rows: int = batch.num_rows
        return rows

    def _infer(self, number: int, inputs: dict[str, Array], at: int, rows: int) -> dict[str, Array]:
        some = {name: array[at : at + rows] for name, array in inputs.items()}
        return self._meter.computed(rows, lambda: self._blamed(number, lambda: self._model.infer(some)))

    def _blamed(self, number: int, work: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        """What the work gives; where it fails, the rows are named. What gate or cluster refuse has nothing to do with them."""
        try:
            return work()
        except (JobFailed, Unavailable):
            raise
        except ModelyardError as error:
            raise InvalidData(f"The rows of shard {number} of {self._spec.filename} cannot be answered: {error.message}") from error


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _columns(outputs: dict[str, Array], signature: Signature) -> dict[str, pa.Array]:
    """A column a value: classes' probabilities are named ``p(CLASS)``, other wide outputs by number."""
    found: dict[str, pa.Array] = {}
    for spec in signature.outputs:
        values = outputs[spec.name].reshape(len(outputs[spec.name]), -1)
        if values.shape[1] == 1:
            found[spec.name] = _column(values[:, 0], spec.datatype)
            continue
        classes = signature.classes if len(signature.classes) == values.shape[1] else ()
        for at in range(values.shape[1]):
            found[f"p({classes[at]})" if classes else f"{spec.name}_{at}"] = _column(values[:, at], spec.datatype)
    return found


def _column(values: Array, datatype: Datatype) -> pa.Array:
    return pa.array(values.astype(str) if datatype is Datatype.BYTES else np.ascontiguousarray(values))


def _laid_out(context: Context, spec: ScoringSpec) -> Path:
    folder = context.output / "model"
    shutil.rmtree(folder, ignore_errors=True)  # an earlier attempt's
    for at, path in enumerate(sorted(spec.files)):
        place = folder / check_path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(context.inputs[str(at)], place)
    return folder

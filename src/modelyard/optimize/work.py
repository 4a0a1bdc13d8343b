"""What the confined child of an optimization does: it applies passes in order, loads what each makes, and measures it beside the parent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import onnx
from google.protobuf.message import EncodeError
from onnx import ModelProto

from modelyard.core.errors import InvalidArtifact, InvalidData, InvalidTensor, ModelyardError, Unsupported
from modelyard.core.plugins import load_string
from modelyard.core.tensors import Array
from modelyard.engines.confined import REQUEST, STAGE, Errand
from modelyard.importers.samples import Sample
from modelyard.optimize.base import Calibration, Lessons, Outputs, Pass, Work
from modelyard.optimize.measure import answers, difference, latency, peak_memory, race, rows_of
from modelyard.optimize.spec import Made, OptimizeSpec, Request, Samples
from modelyard.optimize.table import read_pass
from modelyard.optimize.verdict import reasons_against
from modelyard.registry.trial import find_guess, make_inputs
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES

ENTRY = "model.onnx"
_BATCH = 32
_MADE_UP_ROWS = 64
_FEWEST_SAMPLES = 8


class Judge(Protocol):
    """``held_out.HeldOut``, which this module does not import: it needs the libraries of training."""

    @property
    def inputs(self) -> dict[str, Array]: ...
    def calibration(self) -> Calibration: ...
    def lessons(self) -> Lessons: ...
    def taking(self, names: list[str]) -> Judge: ...
    def metrics(self, outputs: Outputs) -> dict[str, float]: ...
    def evaluation(self, outputs: Outputs) -> dict[str, Any]: ...
    def compare(self, parent: Outputs, child: Outputs) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Candidate:
    """A model as a worker would load it."""

    graph: ModelProto
    model: LoadedModel
    size: int
    place: Path
    """Of its file."""

    @classmethod
    def load(cls, folder: Path, entry: str) -> Candidate:
        """Raises InvalidArtifact."""
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return cls(onnx.load(folder / entry), _loaded(folder / entry), size, folder / entry)


@dataclass(frozen=True)
class Measurement:
    """What was measured of a child."""

    report: dict[str, Any]
    metrics: dict[str, float]
    evaluation: dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What every child is measured with."""

    parent: Candidate
    inputs: dict[str, Array]
    judge: Judge | None

    @property
    def batched(self) -> bool:
        return self.parent.model.signature.batched

    def measure(self, child: Candidate) -> Measurement:
        """All but the verdict."""
        report: dict[str, Any] = {"parent": _facts(self.parent), "child": _facts(child), "races": {}}
        for rows in (1, _BATCH) if self.batched else (1,):
            inputs = rows_of(self.inputs, rows) if self.batched else self.inputs
            run = race(self.parent.model.infer, child.model.infer, inputs)
            report["races"][str(rows)] = run.report()
            report["parent"][f"batch_{rows}"] = latency(run.parent, rows)
            report["child"][f"batch_{rows}"] = latency(run.child, rows)
        for side, model in (("parent", self.parent), ("child", child)):
            report[side]["peak_memory_bytes"] = peak_memory(partial(_loaded, model.place), inputs)
        before, after = (answers(model.model.infer, self.inputs, batched=self.batched) for model in (self.parent, child))
        report["difference"] = difference(before, after)
        report["quality"] = self.judge.compare(before, after) if self.judge else None
        if self.judge is None:
            return Measurement(report, {}, {})
        return Measurement(report, self.judge.metrics(after), self.judge.evaluation(after))


def run(folder: Path, _confinement: tuple[str, ...]) -> bytes:
    """A list of ``Made``, encoded; files are in ``folder / "output"``.

    Raises ModelyardError with one sentence for whatever the owner can mend.
    """
    errand = msgspec.json.decode((folder / REQUEST).read_bytes(), type=Errand)
    request = msgspec.json.decode(errand.details, type=Request)
    spec = request.spec
    passes = [read_pass(written) for written in spec.passes]
    parent = Candidate.load(Path(request.parent), spec.entry)
    judge = _judge(request, parent.model, folder)
    if judge is not None:
        judge = judge.taking([tensor.name for tensor in parent.model.signature.inputs])
    looked_at, fresh = _samples(request, parent.model) or (None, None)
    bench = Bench(parent, judge.inputs if judge else fresh or _made_up(parent.model), judge)
    lessons = judge.lessons() if judge else Lessons(looked_at) if looked_at else None
    start = Work(
        parent.graph,
        Calibration(looked_at) if looked_at else judge.calibration() if judge else None,
        lessons,
        origin=parent.graph,
        tolerance=spec.tolerance.quality,
        student=spec.student,
    )
    made: list[Made] = []
    graph = parent.graph
    for at, (written, chosen) in enumerate(zip(spec.passes, passes, strict=True)):
        (folder / STAGE).write_text(f"{written}\n{0.05 + 0.9 * at / len(spec.passes):.3f}\napplying {written} and measuring it")
        notes: dict[str, Any] = {}
        graph = _applied(
            chosen, replace(start, model=graph, notes=notes), f"The pass {written!r} cannot be applied to {spec.model}@{spec.number}"
        )
        child = _written(graph, folder / "output" / str(at), parent)
        measured = bench.measure(child)
        report = measured.report
        report |= {"notes": notes} if notes else {}
        report["exact"] = all(earlier.exact for earlier in passes[: at + 1])
        reasons = reasons_against(report, spec.tolerance)
        report["verdict"] = {"kept": not reasons, "reasons": reasons, "tolerance": msgspec.to_builtins(spec.tolerance)}
        made.append(Made(written=written, report=report, metrics=measured.metrics, evaluation=measured.evaluation))
        child.model.close()
    return msgspec.json.encode(made)


def _judge(request: Request, model: LoadedModel, scratch: Path) -> Judge | None:
    spec = request.spec
    labels = spec.samples is not None and spec.samples.target
    if spec.rows is None and not labels:
        return None
    try:
        module = "modelyard.optimize.labelled:LabelledRows" if labels else "modelyard.optimize.held_out:HeldOut"
        read = load_string(module).read
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("modelyard"):
            raise
        raise Unsupported(
            f"Measuring quality needs the Python package {error.name!r}; install it with: pip install 'modelyard[train]'"
        ) from error
    if spec.rows is None:
        return _labelled(read, request, model)
    found: Judge = read(Path(request.data), spec.rows.filename, Path(request.recipe).read_text(encoding="utf-8"), scratch)
    return found


def _labelled(read: Callable[..., Judge], request: Request, model: LoadedModel) -> Judge:
    """Raises InvalidData that names the input for rows of the wrong kind or shape, and the label that fits no class."""
    samples, spec = request.spec.samples, request.spec
    if samples is None:
        raise TypeError("labels stand in samples")
    if not model.signature.batched:
        raise InvalidData(f"{spec.model}@{spec.number} takes no rows, so it cannot be judged by labelled ones.")
    try:
        return read(Sample.read(Path(request.samples), samples.filename), model, samples.target, samples.metric)
    except (InvalidData, InvalidTensor) as error:
        raise InvalidData(f"{_misfit(spec, samples)}: {error.message}") from None


def _misfit(spec: OptimizeSpec, samples: Samples) -> str:
    return f"The calibration set {samples.dataset} ({samples.filename}) does not fit {spec.model}@{spec.number}"


def _samples(request: Request, model: LoadedModel) -> tuple[dict[str, Array], dict[str, Array]] | None:
    """Rows that somebody brought without labels: three of four to look at, and the others to compare answers on.

    Raises InvalidData that names the input for rows of the wrong kind or shape.
    """
    samples, spec = request.spec.samples, request.spec
    if samples is None or samples.target:
        return None
    refusal = _misfit(spec, samples)
    try:
        inputs = Sample.read(Path(request.samples), samples.filename).inputs(model.signature)
    except (InvalidData, InvalidTensor) as error:
        raise InvalidData(f"{refusal}: {error.message}") from None
    rows = min((len(array) for array in inputs.values()), default=0)
    if not model.signature.batched or rows < _FEWEST_SAMPLES:
        raise InvalidData(f"{refusal}: it has {rows} rows, and at least {_FEWEST_SAMPLES} are needed, of a model that takes rows.")
    chosen = np.arange(rows) % 4 < 3
    looked_at, fresh = ({name: array[:rows][part] for name, array in inputs.items()} for part in (chosen, ~chosen))
    return looked_at, fresh


def _made_up(model: LoadedModel) -> dict[str, Array]:
    return make_inputs(model.signature, find_guess(model), _MADE_UP_ROWS)


def _applied(chosen: Pass, work: Work, refusal: str) -> ModelProto:
    if reason := chosen.supports(work):
        raise Unsupported(f"{refusal}: {reason}.")
    made = chosen.run(work)
    if not made.metadata_props:  # class names and descriptions: what a caller should know stays in the file
        made.metadata_props.extend(work.model.metadata_props)
    return made


def _written(graph: ModelProto, folder: Path, parent: Candidate) -> Candidate:
    """The child as it will be stored, with the same faces as its parent."""
    (folder / "artifact").mkdir(parents=True)
    try:
        (folder / "artifact" / ENTRY).write_bytes(graph.SerializeToString(deterministic=True))
    except (EncodeError, ValueError):
        raise Unsupported("The optimized model is larger than 2 GiB, which is more than one ONNX file holds.") from None
    try:
        child = Candidate.load(folder / "artifact", ENTRY)
    except ModelyardError as error:
        raise Unsupported(f"The pass made a model that ONNX Runtime does not load: {error.message}") from error
    if _faces(child.model) != _faces(parent.model):
        raise InvalidArtifact("The pass changed the model's inputs or outputs, so it would not answer the same calls.")
    return child


def _faces(model: LoadedModel) -> list[tuple[str, str]]:
    return [(tensor.name, str(tensor.datatype)) for tensor in (*model.signature.inputs, *model.signature.outputs)]


def _loaded(path: Path) -> LoadedModel:
    return RUNTIMES.get("onnx").load(path.parent, path.name, LoadOptions(threads=1))


def _facts(candidate: Candidate) -> dict[str, Any]:
    return {"size_bytes": candidate.size, "nodes": len(candidate.graph.graph.node)}

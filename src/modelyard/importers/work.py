"""What the confined child does: convert, load the result as a worker would, prove it, measure both."""

from __future__ import annotations

import warnings
from pathlib import Path

import msgspec
import numpy as np

from modelyard.core.errors import Unsupported
from modelyard.core.signature import Signature
from modelyard.importers.base import Bench, Converted
from modelyard.importers.confined import Answer, Request
from modelyard.importers.proof import Proof, median_us, prove
from modelyard.importers.samples import Inputs, Sample, has_missing, made_up, with_missing
from modelyard.importers.spec import Outcome, Part
from modelyard.importers.table import IMPORTERS
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES


def run(folder: Path, confinement: tuple[str, ...]) -> bytes:
    """The answer, encoded."""
    request = msgspec.json.decode((folder / "request.json").read_bytes(), type=Request)
    part = request.part
    _stage(folder, "Converting")
    sample = Sample.read(Path(request.sample), request.sample_name) if request.sample else None
    bench = Bench(folder=Path(request.brought) / part.folder, made=folder / "made", part=part, sample=sample)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        converted = IMPORTERS.get(part.importer).convert(bench)
    model = RUNTIMES.get(converted.format).load(bench.made, converted.entry, LoadOptions(threads=1))
    if converted.proven is not None:
        return msgspec.json.encode(Answer(outcome=_proven_outcome(converted, model, part, confinement)))
    _stage(folder, "Comparing with the original")
    proof, inputs = _proved(converted, model, sample)
    if proof.reason:
        raise Unsupported(f"The ONNX conversion ({converted.how}) does not answer as the original: {proof.reason}.")
    _stage(folder, "Measuring")
    one = _one_row(inputs, model.signature)
    once = converted.once or converted.original
    outcome = Outcome(
        entry=converted.entry,
        format=converted.format,
        how=converted.how,
        confinement=confinement,
        proof=proof.report,
        before_us=round(median_us(lambda: once(one)), 1),
        after_us=round(median_us(lambda: model.infer(one)), 1),
        environment=dict(converted.environment),
        notes=(*part.notes, *converted.notes, *proof.notes),
    )
    return msgspec.json.encode(Answer(outcome=outcome))


def _proven_outcome(converted: Converted, model: LoadedModel, part: Part, confinement: tuple[str, ...]) -> Outcome:
    """Of a conversion that has compared itself with its original; only what was made is timed."""
    one = _one_row(made_up(model.signature, converted.domains), model.signature)
    after_us = round(median_us(lambda: model.infer(one)), 1)
    model.close()
    return Outcome(
        entry=converted.entry,
        format=converted.format,
        how=converted.how,
        confinement=confinement,
        proof=dict(converted.proven or {}),
        after_us=after_us,
        environment=dict(converted.environment),
        notes=(*part.notes, *converted.notes),
    )


def _proved(converted: Converted, model: LoadedModel, sample: Sample | None) -> tuple[Proof, Inputs]:
    signature = model.signature
    if sample is not None:
        inputs, source = sample.inputs(signature), "the pusher's sample"
    else:
        inputs, source = made_up(signature, converted.domains, rows=converted.rows), "made up from the signature"
    missing = with_missing(inputs, signature) if signature.batched and converted.missing else {}
    # Whoever gives rows without a gap has shown what will come; made-up rows show nothing of the kind.
    strict = sample is None or has_missing(inputs)
    return prove(converted.original, model.infer, inputs, missing, source=source, strict=strict), inputs


def _one_row(inputs: Inputs, signature: Signature) -> Inputs:
    return {name: np.ascontiguousarray(array[:1]) for name, array in inputs.items()} if signature.batched else inputs


def _stage(folder: Path, text: str) -> None:
    (folder / "stage").write_text(text)

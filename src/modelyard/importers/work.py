"""What the confined child does: convert, load the result as a worker would, prove it, measure both."""

from __future__ import annotations

import warnings
from pathlib import Path

import msgspec

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.engines.confined import REQUEST, STAGE, Errand
from modelyard.importers.base import Bench, Converted, Importer
from modelyard.importers.confined import Request
from modelyard.importers.kept import kept
from modelyard.importers.proof import Proof, median_us, prove, prove_resized
from modelyard.importers.samples import Inputs, Sample, has_missing, made_up, one_row, resized, with_missing
from modelyard.importers.spec import Outcome, Part
from modelyard.importers.table import IMPORTERS
from modelyard.runtimes.base import LoadedModel, LoadOptions
from modelyard.runtimes.detect import RUNTIMES


def run(folder: Path, confinement: tuple[str, ...]) -> bytes:
    """The outcome, encoded."""
    errand = msgspec.json.decode((folder / REQUEST).read_bytes(), type=Errand)
    request = msgspec.json.decode(errand.details, type=Request)
    part = request.part
    _stage(folder, "Converting")
    sample = Sample.read(Path(request.sample), request.sample_name) if request.sample else None
    bench = Bench(folder=Path(request.brought) / part.folder, made=folder / "made", part=part, sample=sample)
    importer = IMPORTERS.get(part.importer)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        try:
            outcome = _converted(importer, bench, confinement)
        except Unsupported as error:
            original = importer.original(bench)
            if original is None:
                raise
            if not request.trust:
                raise Unsupported(
                    f"{error.message.rstrip('.')}. Push it again with --trust, which needs the right 'trust', to have it served "
                    "as it is, by its own library in a replica process."
                ) from None
            _stage(folder, "Keeping it as it is")
            outcome = kept(original, bench, confinement, error.message)
    return msgspec.json.encode(outcome)


def _converted(importer: Importer, bench: Bench, confinement: tuple[str, ...]) -> Outcome:
    folder, part = bench.made.parent, bench.part
    converted = importer.convert(bench)
    model = _loaded(converted, bench)
    if converted.proven is not None:
        return _proven_outcome(converted, model, part, confinement)
    _stage(folder, "Comparing with the original")
    proof, inputs = _proved(converted, model, bench.sample)
    if proof.reason:
        raise Unsupported(f"The ONNX conversion ({converted.how}) does not answer as the original: {proof.reason}.")
    _stage(folder, "Measuring")
    one = one_row(inputs, model.signature)
    once = converted.once or converted.original
    return Outcome(
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


def _loaded(converted: Converted, bench: Bench) -> LoadedModel:
    """What a worker would load. A converter may write what no runtime knows."""
    try:
        return RUNTIMES.get(converted.format).load(bench.made, converted.entry, LoadOptions(threads=1))
    except InvalidArtifact as error:
        raise Unsupported(f"There is no exact ONNX conversion: what {converted.how} made does not load: {error.message}") from None


def _proven_outcome(converted: Converted, model: LoadedModel, part: Part, confinement: tuple[str, ...]) -> Outcome:
    """Of a conversion that has compared itself with its original; only what was made is timed."""
    one = one_row(made_up(model.signature, converted.domains), model.signature)
    after_us = round(median_us(lambda: model.infer(one)), 1) if model.tried else 0.0
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
    proof = prove(converted.original, model.infer, inputs, missing, source=source, strict=strict)
    if signature.batched and not proof.reason:
        other = resized(signature, converted.domains)
        proof = prove_resized(proof, converted.original, model.infer, other) if other else proof
    return proof, inputs


def _stage(folder: Path, text: str) -> None:
    (folder / STAGE).write_text(text)

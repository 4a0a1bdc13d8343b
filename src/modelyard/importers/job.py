"""The job kind ``import``: from uploaded files to artifacts that the registry may store.

This process reads bytes only; whatever opens a model is a confined child of it.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.core.errors import InvalidArtifact, PermissionDenied, Unsupported
from modelyard.core.models import WEIGHTS
from modelyard.engines.confinement import why_not
from modelyard.importers.archive import extract, is_archive
from modelyard.importers.brought import Brought
from modelyard.importers.confined import Request, convert
from modelyard.importers.scan import scan
from modelyard.importers.spec import Finding, ImportSpec, Made, Part, Verdict, attachments_of
from modelyard.importers.table import recognise
from modelyard.registry.artifacts import check_path

_MOST_PARTS = 64


class Context(Protocol):
    """What a job's process gives to the work (``jobs/worker.py``)."""

    spec: dict[str, Any]
    folder: Path
    inputs: dict[str, Path]
    """The uploads: ``sample``, and files by their place in the spec, counted from 0."""

    @property
    def output(self) -> Path: ...

    def report(self, stage: str, fraction: float = -1.0, message: str = "") -> None:
        """Tells how far the work is."""


def run(context: Context) -> dict[str, Any]:
    """Recognises, scans and converts; gives ``{"made": [...]}``.

    Raises ModelyardError with one sentence for whatever the owner can mend.
    """
    spec = msgspec.convert(context.spec, ImportSpec)
    work = context.folder / "work"
    shutil.rmtree(work, ignore_errors=True)  # an earlier attempt's
    context.report("Looking at the files", 0.02)
    brought = _laid_out(context, spec, work / "brought")
    brought, parts = _recognised(brought, spec, work)
    _check_trust(parts, spec)
    context.report("Scanning", 0.1)
    findings = [_scanned(brought, part) for part in parts]
    made: list[Made] = []
    for at, (part, unknown) in enumerate(zip(parts, findings, strict=True)):
        begun = 0.15 + 0.8 * at / len(parts)
        what = part.title if len(parts) == 1 else f"{part.title}, {at + 1} of {len(parts)}"
        context.report("Converting", begun, f"Converting {what}")
        place = work / str(at)
        request = Request(
            brought=str(brought.folder),
            part=part,
            sample=str(context.inputs.get("sample", "")),
            sample_name=spec.sample_name,
            trust=spec.trust,
        )
        outcome = convert(place, request, partial(_report_stage, context, begun + 0.3 / len(parts)))
        (place / "made").rename(context.output / str(at))
        _keep_weights(brought.folder / part.folder, part, attachments_of(context.output / str(at)) / WEIGHTS)
        made.append(Made(part=part, outcome=outcome, findings=unknown))
    shutil.rmtree(work, ignore_errors=True)
    context.report("Storing", 0.97, "Trying the result and storing it")
    found: dict[str, Any] = msgspec.to_builtins({"made": made})
    return found


def _keep_weights(source: Path, part: Part, folder: Path) -> None:
    """As they were brought, and so stored once only."""
    for path in part.weights:
        folder.mkdir(parents=True, exist_ok=True)
        os.link(source / path, folder / path)


def _report_stage(context: Context, fraction: float, stage: str) -> None:
    context.report(stage, fraction, stage)


def _laid_out(context: Context, spec: ImportSpec, folder: Path) -> Brought:
    for at, path in enumerate(sorted(spec.files)):
        place = folder / check_path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(context.inputs[str(at)], place)
    return Brought(folder)


def _recognised(brought: Brought, spec: ImportSpec, work: Path) -> tuple[Brought, list[Part]]:
    """The parts, with an archive unpacked that is no format by itself."""
    try:
        parts = recognise(brought, spec.format)
    except Unsupported:
        if not brought.only or not is_archive(brought.folder / brought.only):
            raise
        unpacked = work / "unpacked"
        unpacked.mkdir()
        extract(brought.folder / brought.only, unpacked)
        brought = _inner(Brought(unpacked))
        parts = recognise(brought, spec.format)
    if len(parts) > _MOST_PARTS:
        raise InvalidArtifact(f"There are {len(parts)} models in what was brought, more than {_MOST_PARTS}; push fewer at once.")
    return brought, [_with_said(part, spec) for part in parts]


def _inner(brought: Brought) -> Brought:
    """The only folder of an archive that packs one."""
    folders = brought.folders()
    return brought.below(folders[0]) if len(folders) == 1 and all("/" in path for path in brought.files) else brought


def _with_said(part: Part, spec: ImportSpec) -> Part:
    """What the pusher says goes before what the format says."""
    signature, outputs = spec.signature or part.signature, spec.outputs or part.outputs
    return msgspec.structs.replace(part, signature=signature, outputs=outputs)


def _check_trust(parts: list[Part], spec: ImportSpec) -> None:
    risky = next((part for part in parts if part.runs_code), None)
    if risky is None:
        return
    if not spec.trust:
        raise PermissionDenied(
            f"This is {risky.title}: {risky.runs_code}. If you know where it comes from, push it again with --trust, which needs the "
            "right 'trust'; it is opened in a confined process then."
        )
    reason = why_not()
    if reason and not spec.unconfined:
        raise Unsupported(
            f"This is {risky.title}: {risky.runs_code}, and this machine cannot confine it: {reason}. Convert it to ONNX yourself, or have "
            "the administrator set MODELYARD_IMPORT_UNCONFINED."
        )


def _scanned(brought: Brought, part: Part) -> tuple[Finding, ...]:
    # What is known is of no interest; what is not is shown to the pusher and kept.
    found = scan(brought.folder / part.folder, part.pickles) if part.pickles else []
    return tuple(finding for finding in found if finding.verdict is not Verdict.KNOWN)

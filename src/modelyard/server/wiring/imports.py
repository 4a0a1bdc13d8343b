"""The controller's side of ``import``: what may be submitted, and how what came out becomes versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.access import Action
from modelyard.core.errors import InvalidArtifact, InvalidRequest
from modelyard.core.events import Actor
from modelyard.core.jobs import Job
from modelyard.core.models import ArtifactFile, Card, Lineage, Reference, Version, check_name
from modelyard.importers.spec import BASE, ImportSpec, Made, attachments_of
from modelyard.jobs.kinds import JobKind
from modelyard.registry.artifacts import check_files
from modelyard.registry.service import Registry
from modelyard.registry.submission import NewVersion
from modelyard.serving.suggested import SUGGESTED
from modelyard.store.blobs import Blobs


@dataclass(frozen=True)
class ImportJobs:
    """Opens nothing: the job's confined child does."""

    registry: Registry
    blobs: Blobs
    unconfined: bool

    def kind(self) -> JobKind:
        return JobKind(run="modelyard.importers.job:run", check=self.check, inputs=self.inputs, finish=self.finish, rights=rights)

    def check(self, workspace_id: int, spec: dict[str, Any]) -> dict[str, Any]:
        """The spec, complete and with every upload it names here.

        Raises InvalidRequest or InvalidArtifact.
        """
        try:
            wanted = msgspec.convert({**spec, "unconfined": self.unconfined, "base_id": 0}, ImportSpec)
            msgspec.convert(wanted.card, Card)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"The import cannot be done as it is written: {error}.") from None
        check_name(wanted.model, "model")
        if not wanted.files:
            raise InvalidRequest("An import needs 'files': paths with the digests of uploads.")
        check_files(ArtifactFile(path=path, digest=digest, size=0) for path, digest in wanted.files.items())
        for path, digest in [*wanted.files.items(), *([(wanted.sample_name or "sample", wanted.sample)] if wanted.sample else [])]:
            if len(digest) != 64 or not self.blobs.exists(digest):
                raise InvalidArtifact(f"The content of {path!r} is not here (digest {digest[:12]}…); upload it first: PUT /api/v1/uploads.")
        if wanted.base:
            wanted = self._on_base(workspace_id, wanted)
        checked: dict[str, Any] = msgspec.to_builtins(wanted)
        return checked

    def _on_base(self, workspace_id: int, wanted: ImportSpec) -> ImportSpec:
        """With the files of the version that an adapter changes; raises NotFound when there is none."""
        base = self.registry.version(workspace_id, Reference.parse(wanted.base))
        if base.artifact.format != "openvino":
            raise InvalidRequest(
                f"{base.reference} is of the format {base.artifact.format!r}; an adapter changes one that OpenVINO computes."
            )
        files = {f"{BASE}/{file.path}": file.digest for file in base.artifact.files}
        return msgspec.structs.replace(wanted, files=wanted.files | files, base=base.reference, base_id=base.id)

    def inputs(self, job: Job) -> Mapping[str, str]:
        spec = msgspec.convert(job.spec, ImportSpec)
        files = {str(at): spec.files[path] for at, path in enumerate(sorted(spec.files))}
        return files | ({"sample": spec.sample} if spec.sample else {})

    def finish(self, job: Job, folder: Path, result: dict[str, Any]) -> dict[str, Any]:
        """Stores each part as a version; a second time finds them, because everything about them is the same."""
        spec = msgspec.convert(job.spec, ImportSpec)
        actor = Actor(name=job.created_by, workspace_id=job.workspace_id, request_id=f"job-{job.id}")
        stored: list[Version] = []
        for at, made in enumerate(msgspec.convert(result["made"], list[Made])):
            new = _new_version(job, spec, folder / "output" / str(at), made)
            stored.append(self.registry.create_version(actor, spec.model, new))
        newest = stored[-1]
        return {
            "model": newest.model,
            "version": newest.number,
            "digest": newest.digest,
            "versions": [version.number for version in stored],
        }


def rights(spec: Mapping[str, Any]) -> frozenset[Action]:
    """Who says ``trust`` needs the right to."""
    return frozenset({Action.TRUST}) if spec.get("trust") else frozenset()


def _new_version(job: Job, spec: ImportSpec, folder: Path, made: Made) -> NewVersion:
    part, outcome = made.part, made.outcome
    based = {"base": spec.base} if spec.base else {}
    numbered: dict[str, Any] = {"number": part.number} if part.number else {}
    detail: dict[str, Any] = based | {"title": part.title} | part.kept | numbered | ({SUGGESTED: part.policy} if part.policy else {})
    report = {
        "import": {
            "format": part.importer,
            "title": part.title,
            "how": outcome.how,
            "confinement": outcome.confinement,
            "findings": made.findings,
            "proof": outcome.proof,
            "before_us": outcome.before_us,
            "after_us": outcome.after_us,
            "environment": outcome.environment,
            "notes": outcome.notes,
            "reason": outcome.reason,
        }
    }
    return NewVersion(
        folder=folder,
        entry=outcome.entry,
        format=outcome.format,
        metrics=spec.metrics,
        attachments=beside if (beside := attachments_of(folder)).is_dir() else None,
        report=report,
        card=msgspec.convert(spec.card, Card),
        lineage=Lineage(job_id=job.id, parent_version_id=spec.base_id, source=part.importer, detail=detail),
        tags=spec.tags,
    )

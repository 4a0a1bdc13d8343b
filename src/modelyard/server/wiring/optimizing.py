"""The controller's side of ``optimize``: which version, which rows, and how what came out becomes children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import Conflict, InvalidRequest, NotFound, Unsupported
from modelyard.core.events import Actor
from modelyard.core.jobs import Job
from modelyard.core.models import Lineage, Reference, Version
from modelyard.jobs.kinds import JobKind
from modelyard.optimize.spec import Made, OptimizeSpec, Rows, Samples, Tolerance
from modelyard.optimize.table import check_pass
from modelyard.registry.service import OPTIMIZATION, Registry, flagged
from modelyard.registry.submission import NewVersion
from modelyard.server.wiring.kinds import find_dataset
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store
from modelyard.train.recipes.student import read_student

SOURCE = "optimize"
ENTRY = "model.onnx"
_RECIPE = "recipe.yaml"
_ONNX, _LANGUAGE = "onnx", "openvino"
_MOST_PASSES = 16


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that come with what is submitted, for a version that was not trained here."""

    version: str
    calibration: str = ""
    """A data set ``name[@number]`` to look at in place of training rows."""
    target: str = ""
    """What of it is the right answer: its column, or its array."""
    metric: str = ""


class _Wanted(Brought, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An optimization as it is submitted."""

    passes: list[str]
    tolerance: Tolerance = Tolerance()
    student: dict[str, Any] = {}


@dataclass(frozen=True)
class OptimizeJobs:
    """Opens no model: the job's process does."""

    registry: Registry
    blobs: Blobs
    store: Store

    def kind(self) -> JobKind:
        return JobKind(run="modelyard.optimize.job:run", check=self.check, inputs=self.inputs, finish=self.finish)

    def check(self, workspace_id: int, spec: dict[str, Any]) -> dict[str, Any]:
        """``{version: "name[@number]", passes: ["int8", …], tolerance?}`` with the version fixed by its number and its files' digests.

        Raises InvalidRequest, NotFound, and Conflict for a version that is flagged.
        """
        try:
            wanted = msgspec.convert(spec, _Wanted)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"The optimization cannot be done as it is written: {error}.") from None
        read_student(wanted.student)
        self.check_passes(wanted.passes)
        start = self.with_rows(workspace_id, self.specified(workspace_id, wanted.version, tuple(wanted.passes), (_ONNX, _LANGUAGE)), wanted)
        checked: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(start, tolerance=wanted.tolerance, student=wanted.student))
        return checked

    def check_passes(self, passes: list[str]) -> None:
        """Raises InvalidRequest for too many or none, NotFound for one that there is not."""
        if not 0 < len(passes) <= _MOST_PASSES:
            raise InvalidRequest(f"An optimization needs 1 to {_MOST_PASSES} passes, like int8 or prune:0.8; it got {len(passes)}.")
        for written in passes:
            check_pass(written)  # its argument is read in the job: passes load what this process is kept free of

    def specified(self, workspace_id: int, wanted: str, passes: tuple[str, ...], formats: Sequence[str] = (_ONNX,)) -> OptimizeSpec:
        """A version fixed by its number and its files' digests. Raises NotFound, Unsupported, and Conflict for a flagged one."""
        version = self.registry.version(workspace_id, Reference.parse(wanted))
        if version.artifact.format not in formats:
            told = " and on language models of OpenVINO" if _LANGUAGE in formats else ""
            raise Unsupported(f"Passes work on ONNX models{told}, and {version.reference} is of the format {version.artifact.format!r}.")
        if reasons := flagged(version):  # a child of it would be compared with it, and look good
            raise Conflict(f"{version.reference} was flagged ({reasons}); optimize the version that it was made of.")
        return OptimizeSpec(
            model=version.model,
            number=version.number,
            passes=passes,
            tolerance=Tolerance(),
            entry=version.artifact.entry,
            files={file.path: file.digest for file in version.artifact.files},
            rows=self._rows(version),
            format=version.artifact.format,
        )

    def with_rows(self, workspace_id: int, start: OptimizeSpec, wanted: Brought) -> OptimizeSpec:
        """The same with the rows that were brought. Raises InvalidRequest for labels that cannot be, NotFound for rows not there."""
        if wanted.target and not wanted.calibration:
            raise InvalidRequest("A target is a column of the rows that you bring: say with calibration which rows.")
        if wanted.metric and not wanted.target:
            raise InvalidRequest(
                "A metric needs labelled rows: say with target which column of the rows that you bring is the right answer."
            )
        if wanted.target and start.format == _LANGUAGE:
            raise InvalidRequest("A language model is judged by the text itself; leave the target out.")
        if wanted.target and start.rows:
            raise InvalidRequest(
                f"{wanted.version} was trained here, and is judged on the rows that its training held out; leave the target out."
            )
        if not wanted.calibration:
            return start
        found = find_dataset(self.store, workspace_id, wanted.calibration)
        samples = Samples(
            dataset=f"{found.name}@{found.number}", digest=found.digest, filename=found.filename, target=wanted.target, metric=wanted.metric
        )
        return msgspec.structs.replace(start, samples=samples)

    def inputs(self, job: Job) -> Mapping[str, str]:
        return self.files(msgspec.convert(job.spec, OptimizeSpec))

    def files(self, spec: OptimizeSpec) -> dict[str, str]:
        """What the job's process needs."""
        files = {str(at): spec.files[path] for at, path in enumerate(sorted(spec.files))}
        files |= {"samples": spec.samples.digest} if spec.samples else {}
        return files | ({"data": spec.rows.digest, "recipe": spec.rows.recipe} if spec.rows else {})

    def finish(self, job: Job, folder: Path, result: dict[str, Any]) -> dict[str, Any]:
        """Stores each child; a second time finds them, because everything about them is the same."""
        spec = msgspec.convert(job.spec, OptimizeSpec)
        stored = self.stored(job, folder, spec, msgspec.convert(result["made"], list[Made]), {})
        return {
            "model": spec.model,
            "version": stored[-1].number,
            "parent": spec.number,
            "versions": [version.number for version in stored],
            "kept": [version.number for version in stored if version.report[OPTIMIZATION]["verdict"]["kept"]],
        }

    def stored(self, job: Job, folder: Path, spec: OptimizeSpec, made: list[Made], more: dict[str, Any]) -> list[Version]:
        """The children in ``folder``, one after another; ``more`` goes into the last one's report.

        Without any, the version itself is stored anew with that report.
        """
        actor = Actor(name=job.created_by, workspace_id=job.workspace_id, request_id=f"job-{job.id}")
        first = last = self.registry.version(job.workspace_id, Reference(spec.model, str(spec.number)))
        stored: list[Version] = []
        for at, step in enumerate(made or [None]):
            written = [step.written] if step else []
            detail: dict[str, Any] = {
                "pass": step.written if step else "",
                "passes": [*last.lineage.detail.get("passes", []), *written],
                "compared_with": first.reference,
            } | {name: first.lineage.detail[name] for name in ("dataset", "filename") if name in first.lineage.detail}
            lineage = Lineage(
                dataset_digest=first.lineage.dataset_digest, job_id=job.id, parent_version_id=last.id, source=SOURCE, detail=detail
            )
            report = (
                {OPTIMIZATION: {"pass": step.written, "compared_with": first.reference} | step.report, "evaluation": step.evaluation}
                if step
                else {}
            )
            attachments = folder / "output" / str(at) / "attachments"
            last = self.registry.create_version(
                actor,
                spec.model,
                NewVersion(
                    folder=folder / "output" / str(at) / "artifact",
                    entry=ENTRY if step and spec.format == _ONNX else spec.entry,
                    format=spec.format,
                    metrics=step.metrics if step else first.metrics,
                    report=report | (more if at == max(0, len(made) - 1) else {}),
                    attachments=attachments if attachments.is_dir() else None,
                    card=first.card,
                    lineage=lineage,
                ),
            )
            stored.append(last)
        return stored

    def _rows(self, version: Version) -> Rows | None:
        """The data set that a version was trained on here, where it is still stored with its recipe."""
        recipe = next((file.digest for file in version.attachments if file.path == _RECIPE), "")
        lineage = version.lineage
        if lineage.source not in {"train", SOURCE} or not recipe or not lineage.dataset_digest:
            return None
        if not self.blobs.exists(lineage.dataset_digest):
            raise NotFound(f"The data set that {version.reference} was trained on is no longer stored, so a child cannot be measured.")
        return Rows(digest=lineage.dataset_digest, filename=str(lineage.detail.get("filename", "")), recipe=recipe)

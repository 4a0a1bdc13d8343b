"""The controller's side of ``predict``: which version, which table, and the result as a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.events import Actor
from modelyard.core.jobs import Job
from modelyard.core.models import Dataset, Reference, Version, check_name
from modelyard.jobs.kinds import JobKind
from modelyard.registry.service import Registry
from modelyard.scoring.spec import ROWS, ScoringSpec
from modelyard.server.wiring.kinds import find_dataset
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store


class _Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As it is submitted."""

    version: str
    """``name@number``, ``name@alias``, or the name of a deployment: then its main version answers."""
    dataset: str
    keep: list[str] = []
    form: Literal["", "csv", "parquet"] = ""
    partitioned: bool = False
    rows: int = ROWS


@dataclass(frozen=True)
class ScoreJobs:
    """Opens no model and no table: the job's process does."""

    store: Store
    registry: Registry
    blobs: Blobs

    def kind(self) -> JobKind:
        return JobKind(run="modelyard.scoring.job:run", check=self.check, inputs=self.inputs, finish=self.finish)

    def check(self, workspace_id: int, spec: dict[str, Any]) -> dict[str, Any]:
        """``{version, dataset, keep?, form?, partitioned?}``; what was checked already passes as it is.

        Raises InvalidRequest, NotFound, and Unsupported for models that are not ONNX.
        """
        try:
            if "files" in spec:  # a resumed job's
                return dict(msgspec.to_builtins(msgspec.convert(spec, ScoringSpec)))
            wanted = msgspec.convert(spec, _Wanted)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"The predictions cannot be made as they are asked for: {error}.") from None
        if not 1 <= wanted.rows <= 10_000_000:
            raise InvalidRequest("A shard has between 1 and 10,000,000 rows.")
        version = self._version(workspace_id, wanted.version)
        if version.artifact.format != "onnx":
            raise Unsupported(f"Files are answered by ONNX models, and {version.reference} is of the format {version.artifact.format!r}.")
        dataset = find_dataset(self.store, workspace_id, wanted.dataset)
        made = ScoringSpec(
            reference=version.reference,
            entry=version.artifact.entry,
            files={file.path: file.digest for file in version.artifact.files},
            data=dataset.digest,
            filename=dataset.filename,
            dataset=f"{dataset.name}@{dataset.number}",
            keep=tuple(wanted.keep),
            form=wanted.form,
            partitioned=wanted.partitioned,
            rows=wanted.rows,
        )
        return dict(msgspec.to_builtins(made))

    def inputs(self, job: Job) -> Mapping[str, str]:
        spec = msgspec.convert(job.spec, ScoringSpec)
        return {"data": spec.data} | {str(at): spec.files[path] for at, path in enumerate(sorted(spec.files))}

    def finish(self, job: Job, folder: Path, result: dict[str, Any]) -> dict[str, Any]:
        """Stores the result as the next version of a data set; a second time finds it."""
        spec = msgspec.convert(job.spec, ScoringSpec)
        actor = Actor(name=job.created_by, workspace_id=job.workspace_id, request_id=f"job-{job.id}")
        file = folder / "output" / str(result["file"])
        blob = self.blobs.put_file(file)
        name = check_name(f"{spec.dataset.partition('@')[0][:50].rstrip('-._')}-predictions", "dataset")
        about = {"job": job.id, "version": spec.reference, "dataset": spec.dataset, "rows": result["rows"]}
        with self.store.write() as session:
            newest = session.datasets.get(job.workspace_id, name)
            if newest is None or newest.digest != blob.digest or newest.schema.get("job") != job.id:
                wanted = Dataset(
                    id=0,
                    workspace_id=job.workspace_id,
                    name=name,
                    number=0,
                    digest=blob.digest,
                    size=blob.size,
                    filename=file.name,
                    schema=about,
                )
                newest = session.datasets.add(wanted)
                session.audit.append(actor, "dataset.create", f"{name}@{newest.number}", after={"digest": blob.digest, "job": job.id})
        return {**result, "dataset": f"{newest.name}@{newest.number}", "digest": blob.digest, "size": blob.size, "version": spec.reference}

    def _version(self, workspace_id: int, wanted: str) -> Version:
        if "@" not in wanted:
            with self.store.read() as session:
                deployment = next((found for found in session.deployments.list(workspace_id) if found.name == wanted), None)
            if deployment is not None and deployment.targets:
                main = max(deployment.targets, key=lambda target: target.weight)
                return self.registry.version(workspace_id, Reference(main.model, main.version))
        return self.registry.version(workspace_id, Reference.parse(wanted))

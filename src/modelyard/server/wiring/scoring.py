"""The controller's side of ``predict``: which version, which table, and the result as a data set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard.core.access import Action, Grant
from modelyard.core.clock import SystemClock
from modelyard.core.errors import InvalidRequest, PermissionDenied, Unsupported
from modelyard.core.events import Actor
from modelyard.core.jobs import Job
from modelyard.core.models import Dataset, Reference, Version, check_name
from modelyard.core.plugins import load_string
from modelyard.core.principals import PrincipalKind
from modelyard.engines.cluster import Cluster
from modelyard.gate.check import Gate, SnapshotHolder
from modelyard.gate.counters import Counters
from modelyard.gate.journal import Journal
from modelyard.gate.limiter import Limiter
from modelyard.jobs.kinds import JobKind
from modelyard.jobs.worker import JobContext
from modelyard.registry.service import Registry
from modelyard.scoring.metering import Metered, Payer
from modelyard.scoring.spec import ROWS, Engine, ScoringSpec
from modelyard.server.wiring.kinds import find_dataset
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store
from modelyard.store.home import Home
from modelyard.store.snapshot import SnapshotReader
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

_PAYER, _CLUSTER = "payer", "cluster"
_SEGMENT_BYTES = 64 << 10


class _Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As it is submitted."""

    version: str
    """``name@number``, ``name@alias``, or the name of a deployment: then its main version answers."""
    dataset: str
    keep: list[str] = []
    form: Literal["", "csv", "parquet"] = ""
    partitioned: bool = False
    rows: int = ROWS
    engine: Engine = "local"


@dataclass(frozen=True)
class ScoreJobs:
    """Opens no model and no table: the job's process does."""

    store: Store
    registry: Registry
    blobs: Blobs
    cluster: Cluster

    def kind(self) -> JobKind:
        return JobKind(
            run="modelyard.server.wiring.scoring:run", check=self.check, inputs=self.inputs, finish=self.finish, facts=self.facts
        )

    def check(self, workspace_id: int, spec: dict[str, Any]) -> dict[str, Any]:
        """``{version, dataset, keep?, form?, partitioned?, engine?}``; what was checked already passes as it is.

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
        version, deployment = self._version(workspace_id, wanted.version)
        if version.artifact.format != "onnx":
            raise Unsupported(f"Files are answered by ONNX models, and {version.reference} is of the format {version.artifact.format!r}.")
        dataset = find_dataset(self.store, workspace_id, wanted.dataset)
        made = ScoringSpec(
            reference=version.reference,
            version_id=version.id,
            deployment=deployment,
            entry=version.artifact.entry,
            files={file.path: file.digest for file in version.artifact.files},
            data=dataset.digest,
            filename=dataset.filename,
            dataset=f"{dataset.name}@{dataset.number}",
            keep=tuple(wanted.keep),
            form=wanted.form,
            partitioned=wanted.partitioned,
            rows=wanted.rows,
            engine=wanted.engine,
        )
        return dict(msgspec.to_builtins(made))

    def inputs(self, job: Job) -> Mapping[str, str]:
        spec = msgspec.convert(job.spec, ScoringSpec)
        return {"data": spec.data} | {str(at): spec.files[path] for at, path in enumerate(sorted(spec.files))}

    def facts(self, job: Job) -> Mapping[str, Any]:
        """Who pays: the key or person that submitted the job; and which cluster computes where one is asked for.

        Raises PermissionDenied when there is no such key or person any more.
        """
        sort, _, name = job.created_by.partition(":")
        with self.store.read() as session:
            if sort == "person":
                person = session.principals.named(DEFAULT_WORKSPACE_ID, PrincipalKind.PERSON, name)
                if person is None or person.disabled_ns:
                    raise PermissionDenied(f"{name!r}, who asked for these predictions, is there no more; submit them as somebody else.")
                principal, key_id = person.id, 0
            else:
                key = session.keys.get(job.workspace_id, name) or session.keys.get(DEFAULT_WORKSPACE_ID, name)
                if key is None or key.revoked_ns:
                    raise PermissionDenied("The key that asked for these predictions is there no more; submit them with another.")
                principal, key_id = key.principal_id, key.id
        grant = Grant(
            workspace_id=job.workspace_id,
            key_id=key_id,
            public_id=name,
            actions=frozenset({Action.INFER}),
            deployments=frozenset(),
            principal_id=principal,
        )
        return {_PAYER: msgspec.to_builtins(grant), _CLUSTER: msgspec.to_builtins(self.cluster)}

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

    def _version(self, workspace_id: int, wanted: str) -> tuple[Version, str]:
        """And the deployment that was named, if one was."""
        if "@" not in wanted:
            with self.store.read() as session:
                deployment = next((found for found in session.deployments.list(workspace_id) if found.name == wanted), None)
            if deployment is not None and deployment.targets:
                main = max(deployment.targets, key=lambda target: target.weight)
                return self.registry.version(workspace_id, Reference(main.model, main.version)), deployment.name
        return self.registry.version(workspace_id, Reference.parse(wanted)), ""


def run(context: JobContext) -> dict[str, Any]:
    """Answers a file in the job's process, through a gate of its own: the home's limits, snapshot and journal are those of workers."""
    home, clock = Home(context.folder.parents[1]), SystemClock()
    grant = msgspec.convert(context.spec.pop(_PAYER), Grant)
    cluster = msgspec.convert(context.spec.pop(_CLUSTER), Cluster)
    spec = msgspec.convert(context.spec, ScoringSpec)
    reader, limiter = SnapshotReader(home.snapshot), Limiter(Counters(home.limits), clock)
    holder = SnapshotHolder(reader.load())
    journal = Journal(home.journal, os.urandom(16), 0, segment_bytes=_SEGMENT_BYTES, clock=clock)
    gate = Gate(holder, journal, clock, limiter)
    try:
        # Loaded here: it reads tables through pyarrow, which a controller never loads.
        answer = load_string("modelyard.scoring.job:run")
        found: dict[str, Any] = answer(
            context, Metered(gate, limiter, holder, reader, Payer(grant, spec.deployment, spec.version_id)), cluster
        )
        return found
    finally:
        journal.close()
        limiter.close()

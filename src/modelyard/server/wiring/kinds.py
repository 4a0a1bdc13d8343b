"""The table of job kinds: what runs in the child, and what the controller does before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.deployments import Target
from modelyard.core.errors import InvalidRequest, NotFound, did_you_mean
from modelyard.core.events import Actor
from modelyard.core.jobs import Job
from modelyard.core.models import WEIGHTS, Card, Dataset, Lineage, Reference, Version, check_name
from modelyard.engines.cluster import LOCAL, Cluster
from modelyard.jobs.kinds import JobKind
from modelyard.registry.service import Registry
from modelyard.registry.submission import NewVersion
from modelyard.serving.deployments import DeploymentService
from modelyard.store.database import Store
from modelyard.train.recipes.adapter import AdapterRecipe
from modelyard.train.recipes.encoder import EncoderRecipe
from modelyard.train.recipes.parse import parse_recipe

_FIELDS = ("model", "dataset", "recipe", "base", "alias", "deploy", "card", "tags")
TRAINING_DATA = "Version {number} of the data set {name}, SHA-256 {digest}."


_BASES = {
    "adapter": ("openvino", "an adapter changes one that OpenVINO computes"),
    "encoder": ("hf_onnx", "this recipe fine-tunes encoders of Hugging Face's, pushed as their folder"),
}
"""Kind of recipe → the format of its base, and why no other."""


class _Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What ``train.job.run`` gives back."""

    model: str
    entry: str
    format: str
    metrics: dict[str, float]
    report: dict[str, Any]
    dataset_digest: str = ""
    classes: list[str] = []


@dataclass(frozen=True)
class TrainJobs:
    """The controller's side of ``train``."""

    store: Store
    registry: Registry
    deployments: DeploymentService
    cluster: Cluster

    def kind(self) -> JobKind:
        return JobKind(
            run="modelyard.train.job:run",
            check=self.check,
            inputs=self.inputs,
            finish=self.finish,
            workers=self.workers,
            facts=self.facts,
        )

    def check(self, workspace_id: int, spec: dict[str, Any]) -> dict[str, Any]:
        """``{model?, dataset: "name[@number]", recipe, alias?, deploy?, card?, tags?}`` with the data set fixed by its digest.

        Raises InvalidRequest and NotFound.
        """
        for name in spec:
            if name not in _FIELDS:
                raise InvalidRequest(f"A training job has no field {name!r}.{did_you_mean(name, _FIELDS)}")
        raw = spec.get("recipe")
        if not isinstance(raw, Mapping):
            raise InvalidRequest('A training job needs a \'recipe\' that names at least its target: {"target": "COLUMN"}.')
        model = spec.get("model") or raw.get("name") or ""
        recipe = parse_recipe({**raw, **({"name": model} if model else {})})
        found = find_dataset(self.store, workspace_id, spec.get("dataset") or recipe.data)
        dataset = {name: getattr(found, name) for name in ("name", "number", "digest", "size", "filename")}
        checked: dict[str, Any] = {"recipe": recipe.model_dump(mode="json", exclude_defaults=True), "dataset": dataset}
        if isinstance(recipe, AdapterRecipe | EncoderRecipe):
            checked["base"] = self._base(workspace_id, recipe)
        elif "base" in spec:
            raise InvalidRequest("Only recipes of the kinds 'adapter' and 'encoder' have a base.")
        if spec.get("alias"):
            checked["alias"] = check_name(str(spec["alias"]), "alias")
        if spec.get("deploy"):
            checked["deploy"] = check_name(str(spec["deploy"]), "deployment")
        if spec.get("card"):
            checked["card"] = msgspec.to_builtins(_converted(spec["card"], Card, "card"))
        if spec.get("tags"):
            checked["tags"] = _converted(spec["tags"], dict[str, str], "tags")
        return checked

    def inputs(self, job: Job) -> Mapping[str, str]:
        files = job.spec.get("base", {}).get("files", {})
        return {"data": str(job.spec["dataset"]["digest"])} | {f"base.{at}": str(files[path]) for at, path in enumerate(sorted(files))}

    def workers(self, spec: Mapping[str, Any]) -> int:
        """Of this machine; none where others do the work."""
        recipe = spec["recipe"]
        learnings = [part.get("learning", {}) for part in (recipe, *recipe.get("settings", {}).values())]
        if self.cluster.address != LOCAL and recipe.get("learning", {}).get("engine") == "ray":
            return 0
        return max(int(learning.get("workers", 1)) for learning in learnings)

    def facts(self, job: Job) -> Mapping[str, Any]:
        """Where a team of workers goes, and what each gets."""
        return {"cluster": msgspec.to_builtins(msgspec.structs.replace(self.cluster, cores=job.limits.cores or 1.0, gpus=job.limits.gpus))}

    def _base(self, workspace_id: int, recipe: AdapterRecipe | EncoderRecipe) -> dict[str, Any]:
        """The version that is learned on from, fixed by its files; raises NotFound when there is none."""
        base = self.registry.version(workspace_id, Reference.parse(recipe.base))
        wanted, what = _BASES[recipe.kind]
        if base.artifact.format != wanted:
            raise InvalidRequest(f"{base.reference} is of the format {base.artifact.format!r}; {what}.")
        weights = (file for file in base.attachments if file.path.startswith(f"{WEIGHTS}/"))
        files = {file.path: file.digest for file in (*base.artifact.files, *weights)}
        return {"reference": base.reference, "id": base.id, "files": files}

    def finish(self, job: Job, folder: Path, result: dict[str, Any]) -> dict[str, Any]:
        """Stores the version, which carries the job's id in its lineage, so that a second time finds it; then moves what was asked."""
        trained = msgspec.convert(result, _Trained)
        actor = Actor(name=job.created_by, workspace_id=job.workspace_id, request_id=f"job-{job.id}")
        version = self._stored(actor, job, trained.model) or self.registry.create_version(
            actor, trained.model, _new_version(job, folder, trained)
        )
        if job.spec.get("alias"):
            self.registry.set_alias(actor, Reference(version.model, str(version.number)), job.spec["alias"])
        if job.spec.get("deploy"):
            self.deployments.deploy(
                actor, job.spec["deploy"], [Target(model=version.model, version=job.spec.get("alias") or str(version.number))]
            )
        return {
            "model": version.model,
            "version": version.number,
            "digest": version.digest,
            "metrics": version.metrics,
            "dataset": f"{job.spec['dataset']['name']}@{job.spec['dataset']['number']}",
        }

    def _stored(self, actor: Actor, job: Job, model: str) -> Version | None:
        with self.store.read() as session:
            if session.models.get(actor.workspace_id, model) is None:
                return None
            versions = session.versions.list(actor.workspace_id, model)
        return next((version for version in versions if version.lineage.job_id == job.id), None)


def find_dataset(store: Store, workspace_id: int, wanted: Any) -> Dataset:
    """A stored data set by ``name[@number]`` or digest.

    Raises InvalidRequest and NotFound.
    """
    if isinstance(wanted, Mapping):
        wanted = wanted.get("digest") or wanted.get("name") or ""
    if not isinstance(wanted, str) or not wanted:
        raise InvalidRequest("The job needs a 'dataset': upload a file first and name it, like penguins or penguins@1.")
    name, _, number = wanted.partition("@")
    if number and not number.isdecimal():
        raise InvalidRequest(f"{wanted!r} is no version of a data set; write it like {name}@1.")
    with store.read() as session:
        if len(wanted) == 64 and (found := session.datasets.by_digest(workspace_id, wanted)) is not None:
            return found
        found = session.datasets.get(workspace_id, name, int(number) if number else None)
        known = {dataset.name for dataset in session.datasets.list(workspace_id)} if found is None else set()
    if found is None:
        raise NotFound(f"There is no data set {wanted!r}.{did_you_mean(wanted, known)} Upload it first.")
    return found


def _new_version(job: Job, folder: Path, trained: _Trained) -> NewVersion:
    dataset, base = job.spec["dataset"], job.spec.get("base", {})
    attachments = folder / "output" / "attachments"
    card = msgspec.convert(job.spec.get("card") or {}, Card)
    if not card.training_data:
        card = msgspec.structs.replace(card, training_data=TRAINING_DATA.format(**dataset))
    return NewVersion(
        folder=folder / "output" / "artifact",
        entry=trained.entry,
        format=trained.format,
        metrics=trained.metrics,
        report=trained.report,
        attachments=attachments if attachments.is_dir() else None,
        card=card,
        lineage=Lineage(
            dataset_digest=dataset["digest"],
            job_id=job.id,
            source="train",
            parent_version_id=base.get("id", 0),
            detail={"dataset": f"{dataset['name']}@{dataset['number']}", "filename": dataset["filename"]}
            | ({"base": base["reference"]} if base else {}),
        ),
        tags=job.spec.get("tags") or {},
    )


def _converted(value: Any, kind: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The field {name!r} of the training job cannot be used: {error}.") from None

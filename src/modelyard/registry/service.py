"""The registry: the one way in which versions come, aliases move and models go, each with its audit row in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, Unavailable, did_you_mean
from modelyard.core.events import Actor
from modelyard.core.models import ArtifactFile, Model, Reference, Version, check_name
from modelyard.registry.compare import Comparison, compare_versions
from modelyard.registry.garbage import GarbageReport, collect_garbage
from modelyard.registry.resolve import deployments_using, find_model, find_version, previous_number
from modelyard.registry.submission import Examined, NewVersion, check_tags, examine
from modelyard.registry.validate import Prober, ProbeResult
from modelyard.store.blobs import Blobs
from modelyard.store.database import Session, Store
from modelyard.store.filters import MetricFilter

MAX_DESCRIPTION = 10_000
OPTIMIZATION = "optimization"
"""Where the report of an optimized version says what was measured beside its parent, and the verdict."""
TUNING = "tuning"
"""Where the report of a tuned version says how it is to be run."""


class Registry:
    """Models and versions of every workspace. Safe to use from several threads."""

    def __init__(self, store: Store, blobs: Blobs, prober: Prober, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._prober = prober
        self._clock = clock

    def create_version(self, actor: Actor, model: str, source: NewVersion) -> Version:
        """Stores a version after it has run in confinement; whole, with its audit row, or not at all.

        Handing in what the model's versions hold already (same files, metrics, report, card, lineage and tags) stores nothing
        and gives back the newest such version: a push that is retried, or a job that is finished twice, does no harm. Any
        difference makes a new version; so do two training jobs whose results are equal, because their lineage differs.
        Raises InvalidRequest, or InvalidArtifact for a model that cannot be read, is unsafe or does not run.
        """
        check_name(model, "model")
        examined = examine(source)
        with self._store.read() as session:
            known = _same(session, actor.workspace_id, model, examined)
        if known is not None:
            return known
        tried = self._prober.probe(source.folder, source.entry, source.format)
        examined.ingest(self._blobs)
        with self._store.write() as session:
            known = _same(session, actor.workspace_id, model, examined)
            return known or self._add(session, actor, model, examined, tried)

    def _add(self, session: Session, actor: Actor, model: str, examined: Examined, tried: ProbeResult) -> Version:
        # Blobs go only in write transactions, so what is there now stays until this one has named it.
        if examined.missing(self._blobs):
            raise Unavailable("A file of the version was collected as garbage before it could be stored; try again.", retry_after=0.0)
        row = session.models.ensure(actor.workspace_id, model)
        source = examined.source
        version = session.versions.add(
            Version(
                id=0,
                workspace_id=actor.workspace_id,
                model_id=row.id,
                model=model,
                number=0,
                artifact=examined.artifact,
                signature=tried.signature,
                profile=tried.profile,
                metrics=dict(source.metrics),
                report=examined.report,
                attachments=examined.attachments,
                card=source.card,
                lineage=examined.lineage,
                tags=dict(source.tags),
                created_ns=self._clock.time_ns(),
                created_by=actor.name,
            )
        )
        after = {"digest": version.digest, "format": source.format, "metrics": dict(source.metrics), "lineage": examined.lineage}
        session.audit.append(actor, "version.create", version.reference, after=after)
        return version

    def models(
        self, workspace_id: int, *, search: str = "", tags: Mapping[str, str] | None = None, metrics: Sequence[str] = ()
    ) -> list[Model]:
        """Models whose name contains ``search``, with all ``tags``, and with one version that satisfies all comparisons such as
        ``accuracy>0.9``.
        """
        wanted = [MetricFilter.parse(text) for text in metrics]
        with self._store.read() as session:
            return session.models.list(workspace_id, search=search, tags=tags, metrics=wanted)

    def model(self, workspace_id: int, name: str) -> Model:
        """Raises NotFound, naming the nearest."""
        with self._store.read() as session:
            return find_model(session, workspace_id, name)

    def update_model(self, actor: Actor, name: str, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Model:
        """Replaces description and tags, where given."""
        if description is not None and (len(description) > MAX_DESCRIPTION or "\0" in description):
            raise InvalidRequest(f"The description is longer than {MAX_DESCRIPTION} characters or holds a NUL character.")
        check_tags(tags or {})
        with self._store.write() as session:
            before = find_model(session, actor.workspace_id, name)
            after = session.models.update(actor.workspace_id, name, description=description, tags=tags)
            session.audit.append(actor, "model.update", name, _visible(before), _visible(after))
            return after

    def delete_model(self, actor: Actor, name: str) -> None:
        """Deletes a model with its versions and history; their files go with the next garbage collection.

        Raises Conflict while a deployment routes to it or an alias points at one of its versions.
        """
        with self._store.write() as session:
            model = find_model(session, actor.workspace_id, name)
            _refuse_used(session, model, None)
            session.models.remove(actor.workspace_id, name)
            session.audit.append(actor, "model.delete", name, _visible(model) | {"latest": model.latest})

    def delete_version(self, actor: Actor, reference: Reference) -> Version:
        """Deletes a version; its number is never given again.

        Raises Conflict while a deployment routes to it or an alias points at it.
        """
        with self._store.write() as session:
            version = find_version(session, actor.workspace_id, reference)
            _refuse_used(session, find_model(session, actor.workspace_id, version.model), version.number)
            session.versions.remove(version)
            session.audit.append(actor, "version.delete", version.reference, {"digest": version.digest})
            return version

    def versions(
        self, workspace_id: int, name: str, *, metrics: Sequence[str] = (), tags: Mapping[str, str] | None = None
    ) -> list[Version]:
        """Versions of a model, newest first."""
        wanted = [MetricFilter.parse(text) for text in metrics]
        with self._store.read() as session:
            return session.versions.list(workspace_id, find_model(session, workspace_id, name).name, metrics=wanted, tags=tags)

    def version(self, workspace_id: int, reference: Reference) -> Version:
        """By number, alias or ``latest``; without any of them the champion, or the newest where there is none."""
        with self._store.read() as session:
            return find_version(session, workspace_id, reference)

    def compare(self, workspace_id: int, a: Reference, b: Reference) -> Comparison:
        """Two versions side by side, of one model or of two."""
        with self._store.read() as session:
            return compare_versions(find_version(session, workspace_id, a), find_version(session, workspace_id, b))

    def set_alias(self, actor: Actor, reference: Reference, alias: str) -> Version:
        """Points an alias at the version that ``reference`` means now; workers learn of it within a second.

        Raises NotFound, or Conflict for a version that its own report flags.
        """
        check_name(alias, "alias")
        with self._store.write() as session:
            version = find_version(session, actor.workspace_id, reference)
            return _point(session, actor, alias, version, "alias.set")

    def remove_alias(self, actor: Actor, model: str, alias: str) -> None:
        """Takes an alias away.

        Raises NotFound, or Conflict while a deployment follows it.
        """
        with self._store.write() as session:
            row = find_model(session, actor.workspace_id, model)
            version = find_version(session, actor.workspace_id, Reference(model, check_name(alias, "alias")))
            followers = [
                deployment.name
                for deployment in session.deployments.list(actor.workspace_id)
                if any(target.model == row.name and target.version == alias for target in deployment.targets)
            ]
            if followers:
                raise Conflict(f"Deployment {', '.join(followers)} follows {model}@{alias}; undeploy it or point it elsewhere first.")
            session.aliases.remove(actor.workspace_id, model, alias)
            session.audit.append(actor, "alias.remove", f"{model}@{alias}", {"version": version.number})

    def rollback(self, actor: Actor, model: str, alias: str) -> Version:
        """Points an alias at the version before the one it points at; two rollbacks go back two versions.

        Raises NotFound for a model or alias that never was, Conflict when there is nothing before or its report flags it.
        """
        with self._store.write() as session:
            row = find_model(session, actor.workspace_id, model)
            history = session.aliases.history(actor.workspace_id, model, alias)
            if not history:
                raise NotFound(f"Model {model!r} has no alias {alias!r}.{did_you_mean(alias, row.aliases)}")
            existing = {version.number for version in session.versions.list(actor.workspace_id, model)}
            number = previous_number(history, row.aliases.get(alias, 0), existing)
            version = find_version(session, actor.workspace_id, Reference(model, str(number)))
            return _point(session, actor, alias, version, "alias.rollback")

    def alias_history(self, workspace_id: int, model: str, alias: str) -> list[tuple[int, int]]:
        """Where an alias has pointed, newest first: (version number, time in nanoseconds); number 0 says that it was removed."""
        with self._store.read() as session:
            return session.aliases.history(workspace_id, find_model(session, workspace_id, model).name, alias)

    def open_file(self, version: Version, path: str) -> BinaryIO:
        """A file of the artifact, as a stream that the caller closes."""
        return self._open(version.artifact.files, path, version.reference)

    def open_attachment(self, version: Version, path: str) -> BinaryIO:
        """A plot or another attachment, as a stream that the caller closes."""
        return self._open(version.attachments, path, version.reference)

    def collect_garbage(self, min_age_seconds: float) -> GarbageReport:
        """Removes blobs that nothing names and that nobody has put within ``min_age_seconds``."""
        return collect_garbage(self._store, self._blobs, min_age_seconds)

    def _open(self, files: Sequence[ArtifactFile], path: str, reference: str) -> BinaryIO:
        for file in files:
            if file.path == path:
                return self._blobs.open_blob(file.digest)
        raise NotFound(f"{reference} has no file {path!r}.{did_you_mean(path, [file.path for file in files])}")


def _same(session: Session, workspace_id: int, model: str, examined: Examined) -> Version | None:
    candidates = session.versions.with_digest(workspace_id, model, examined.artifact.digest)
    return next((version for version in candidates if examined.equals(version)), None)


def _point(session: Session, actor: Actor, alias: str, version: Version, action: str) -> Version:
    model = find_model(session, actor.workspace_id, version.model)
    before = model.aliases.get(alias)
    if before != version.number:
        _refuse_flagged(version)
        session.aliases.set(actor.workspace_id, version.model, alias, version.number)
        session.audit.append(actor, action, f"{version.model}@{alias}", {"version": before or 0}, {"version": version.number})
    return version


def flagged(version: Version) -> str:
    """Why a version's own report speaks against it; empty when nothing does."""
    verdict = version.report.get(OPTIMIZATION, {}).get("verdict", {})
    return "; ".join(verdict["reasons"]) if verdict and not verdict.get("kept") else ""


def _refuse_flagged(version: Version) -> None:
    if reasons := flagged(version):
        raise Conflict(
            f"{version.reference} cannot take an alias, because it was flagged beside its parent: {reasons}. "
            "Optimize with other passes, or with a tolerance that you can stand by."
        )


def _refuse_used(session: Session, model: Model, number: int | None) -> None:
    what = model.name if number is None else f"{model.name}@{number}"
    users = deployments_using(session, model.workspace_id, model, number)
    if users:
        raise Conflict(f"Deployment {', '.join(users)} uses {what}; undeploy it or point it elsewhere first.")
    pointing = [alias for alias, at in sorted(model.aliases.items()) if number in {None, at}]
    if pointing:
        raise Conflict(f"Alias {', '.join(pointing)} points at {what}; move or remove it first.")


def _visible(model: Model) -> dict[str, Any]:
    return {"description": model.description, "tags": model.tags}

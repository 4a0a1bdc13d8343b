"""Versions: immutable rows, with their files beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, insert, select, update
from sqlalchemy.engine import RowMapping

from modelyard.core.clock import Clock
from modelyard.core.errors import NotFound
from modelyard.core.models import Artifact, ArtifactFile, Card, Lineage, Profile, Version
from modelyard.core.signature import Signature
from modelyard.store.filters import MetricFilter, has_tag
from modelyard.store.settings import STATE, SettingsTable
from modelyard.store.tables import models, version_files, versions

_ARTIFACT, _ATTACHMENT = "artifact", "attachment"
_CHUNK = 500  # ids in one IN (...)

Versions = list[Version]
FilesByRole = dict[str, list[ArtifactFile]]


class VersionsTable:
    """Rows of ``versions``; there is no way to change one."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def add(self, version: Version) -> Version:
        """Stores a version under the next number of ``version.model_id``; what was stored, with its id, number and time.

        Raises NotFound when the workspace has no such model.
        """
        mine = (models.c.id == version.model_id) & (models.c.workspace_id == version.workspace_id)
        number = self._connection.execute(
            update(models).where(mine).values(last_number=models.c.last_number + 1).returning(models.c.last_number)
        ).scalar_one_or_none()
        if number is None:
            raise NotFound(f"There is no model {version.model!r}.")
        created = version.created_ns or self._clock.time_ns()
        values = _values(version) | {"number": number, "created_ns": created}
        made = self._connection.execute(insert(versions).values(**values).returning(versions.c.id)).scalar_one()
        files = [_file(version, made, _ARTIFACT, file) for file in version.artifact.files]
        files += [_file(version, made, _ATTACHMENT, file) for file in version.attachments]
        if files:
            self._connection.execute(insert(version_files), files)
        SettingsTable(self._connection).bump(STATE)
        return msgspec.structs.replace(version, id=made, number=number, created_ns=created)

    def get(self, workspace_id: int, model: str, number: int) -> Version | None:
        found = self._load(_all().where(versions.c.workspace_id == workspace_id, models.c.name == model, versions.c.number == number))
        return found[0] if found else None

    def by_id(self, version_id: int) -> Version | None:
        found = self._load(_all().where(versions.c.id == version_id))
        return found[0] if found else None

    def by_ids(self, ids: Iterable[int]) -> Versions:
        """The versions that exist among ``ids``, by id."""
        wanted = sorted(set(ids))
        found: Versions = []
        for at in range(0, len(wanted), _CHUNK):
            found += self._load(_all().where(versions.c.id.in_(wanted[at : at + _CHUNK])).order_by(versions.c.id))
        return found

    def list(
        self, workspace_id: int, model: str, *, metrics: Sequence[MetricFilter] = (), tags: Mapping[str, str] | None = None, limit: int = 0
    ) -> Versions:
        """Versions of a model, newest first, that satisfy all ``metrics`` and have all ``tags``."""
        query = _all().where(versions.c.workspace_id == workspace_id, models.c.name == model)
        query = query.where(*(wanted.clause() for wanted in metrics))
        query = query.where(*(has_tag(versions.c.tags, name, value) for name, value in (tags or {}).items()))
        query = query.order_by(versions.c.number.desc())
        return self._load(query.limit(limit) if limit else query)

    def with_digest(self, workspace_id: int, model: str, digest: str) -> Versions:
        """Versions of a model with this content, newest first."""
        query = _all().where(versions.c.workspace_id == workspace_id, models.c.name == model, versions.c.digest == digest)
        return self._load(query.order_by(versions.c.number.desc()))

    def remove(self, version: Version) -> None:
        """Deletes a version; whether it may go is the registry's business. Its number is never given again.

        Raises Conflict (when the transaction goes on) while an alias points at it.
        """
        self._connection.execute(delete(versions).where(versions.c.id == version.id, versions.c.workspace_id == version.workspace_id))
        SettingsTable(self._connection).bump(STATE)

    def artifact_digests(self) -> set[str]:
        """Digests of every blob that a version of any workspace needs, attachments included."""
        return set(self._connection.execute(select(version_files.c.digest).distinct()).scalars())

    def _load(self, query: Select[Any]) -> Versions:
        rows = self._connection.execute(query).mappings().all()
        files = self._files([row["id"] for row in rows])
        return [_version(row, files.get(row["id"], {})) for row in rows]

    def _files(self, ids: Sequence[int]) -> dict[int, FilesByRole]:
        found: dict[int, FilesByRole] = {}
        for at in range(0, len(ids), _CHUNK):
            query = select(version_files).where(version_files.c.version_id.in_(ids[at : at + _CHUNK]))
            for row in self._connection.execute(query):
                roles = found.setdefault(row.version_id, {})
                roles.setdefault(row.role, []).append(ArtifactFile(path=row.path, digest=row.digest, size=row.size))
        for roles in found.values():
            for files in roles.values():
                files.sort(key=lambda file: file.path)
        return found


def _all() -> Select[Any]:
    return select(versions, models.c.name.label("model")).join(models, models.c.id == versions.c.model_id)


def _values(version: Version) -> dict[str, Any]:
    return {
        "workspace_id": version.workspace_id,
        "model_id": version.model_id,
        "format": version.artifact.format,
        "digest": version.artifact.digest,
        "entry": version.artifact.entry,
        "signature": version.signature,
        "profile": version.profile,
        "metrics": version.metrics,
        "report": version.report,
        "card": version.card,
        "lineage": version.lineage,
        "tags": version.tags,
        "created_by": version.created_by,
    }


def _file(version: Version, version_id: int, role: str, file: ArtifactFile) -> dict[str, Any]:
    return {
        "workspace_id": version.workspace_id,
        "version_id": version_id,
        "role": role,
        "path": file.path,
        "digest": file.digest,
        "size": file.size,
    }


def _version(row: RowMapping, files: FilesByRole) -> Version:
    artifact = Artifact(format=row["format"], digest=row["digest"], files=tuple(files.get(_ARTIFACT, ())), entry=row["entry"])
    return Version(
        id=row["id"],
        workspace_id=row["workspace_id"],
        model_id=row["model_id"],
        model=row["model"],
        number=row["number"],
        artifact=artifact,
        signature=msgspec.convert(row["signature"], Signature),
        profile=msgspec.convert(row["profile"], Profile),
        metrics=msgspec.convert(row["metrics"], dict[str, float]),
        report=row["report"],
        attachments=tuple(files.get(_ATTACHMENT, ())),
        card=msgspec.convert(row["card"], Card),
        lineage=msgspec.convert(row["lineage"], Lineage),
        tags=row["tags"],
        created_ns=row["created_ns"],
        created_by=row["created_by"],
    )

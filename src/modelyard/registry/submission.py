"""What somebody hands in to become a version, and the checks that need no trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import InvalidArtifact, InvalidRequest
from modelyard.core.models import Artifact, ArtifactFile, Card, Lineage, Version
from modelyard.registry.artifacts import describe, scan
from modelyard.store.blobs import Blobs
from modelyard.store.filters import check_field

MAX_TAGS = 100
MAX_TAG_VALUE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class NewVersion:
    """A version to be. Both folders are read, never changed, and must stand still meanwhile."""

    folder: Path
    """The artifact's files and nothing else."""
    entry: str
    """Path in ``folder`` of the file that the runtime opens."""
    format: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    attachments: Path | None = None
    """A folder with plots and the like."""
    card: Card = field(default_factory=Card)
    lineage: Lineage = field(default_factory=Lineage)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Examined:
    """A submission whose files are known by digest."""

    source: NewVersion
    artifact: Artifact
    attachments: tuple[ArtifactFile, ...]
    report: dict[str, Any]
    lineage: Lineage

    def equals(self, version: Version) -> bool:
        """Whether a stored version says the same in every respect but time and author."""
        return (
            version.artifact == self.artifact
            and version.attachments == self.attachments
            and version.metrics == dict(self.source.metrics)
            and version.report == self.report
            and version.card == self.source.card
            and version.lineage == self.lineage
            and version.tags == dict(self.source.tags)
        )

    def ingest(self, blobs: Blobs) -> None:
        """Puts every file; raises InvalidArtifact when one has changed since it was examined."""
        pairs = [(self.source.folder, file) for file in self.artifact.files]
        if self.source.attachments is not None:
            pairs += [(self.source.attachments, file) for file in self.attachments]
        for folder, file in pairs:
            if blobs.put_file(folder / file.path).digest != file.digest:
                raise InvalidArtifact(f"The file {file.path!r} changed while it was being stored; hand it in again.")

    def missing(self, blobs: Blobs) -> bool:
        """Whether a blob of it is not in the store."""
        return not all(blobs.exists(file.digest) for file in (*self.artifact.files, *self.attachments))


def examine(source: NewVersion) -> Examined:
    """Reads and hashes the files.

    Raises InvalidRequest for tags or metrics that cannot be stored, InvalidArtifact for files.
    """
    check_tags(source.tags)
    check_metrics(source.metrics)
    attachments = scan(source.attachments) if source.attachments is not None else ()
    # As they will be read back: tuples are lists, NaN is null.
    report = msgspec.json.decode(msgspec.json.encode(dict(source.report)), type=dict[str, Any])
    lineage = msgspec.json.decode(msgspec.json.encode(source.lineage), type=Lineage)
    return Examined(source, describe(source.folder, source.entry, source.format), attachments, report, lineage)


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises InvalidRequest when there are too many, or a name or value cannot be kept."""
    if len(tags) > MAX_TAGS:
        raise InvalidRequest(f"{len(tags)} tags are more than {MAX_TAGS}.")
    for name, value in tags.items():
        check_field(name, "tag")
        if len(value) > MAX_TAG_VALUE or "\0" in value:
            raise InvalidRequest(f"The value of tag {name!r} is longer than {MAX_TAG_VALUE} characters or holds a NUL character.")


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Raises InvalidRequest for a name that cannot be searched for and for a value that is no finite number."""
    for name, value in metrics.items():
        check_field(name, "metric")
        if not math.isfinite(value):
            raise InvalidRequest(f"Metric {name!r} is {value}; leave out a metric that has no finite value.")

"""Models, immutable versions, aliases and datasets as plain data."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest
from modelyard.core.signature import Signature

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
"""Names of workspaces, models, aliases, datasets and deployments: usable in a URL, a file name and a DNS label but for ``_`` and ``.``."""
_ALIAS_LIKE_NUMBER = re.compile(r"v?\d+")


def check_name(name: str, kind: str) -> str:
    """``name`` itself when it may name a ``kind``.

    Raises InvalidRequest that states the rule.
    """
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot name a {kind}: use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit."
        )
    if kind == "alias" and (_ALIAS_LIKE_NUMBER.fullmatch(name) or name == "latest"):
        raise InvalidRequest(f"{name!r} cannot be an alias: numbers mean versions and 'latest' is the newest one.")
    return name


class ArtifactFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an artifact: its path inside the artifact (POSIX, relative, no ``..``), SHA-256 (hex) and size in bytes."""

    path: str
    digest: str
    size: int


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A model as files. ``digest`` is the SHA-256 of the canonical list of files, so equal content has an equal digest."""

    format: str
    """Name of the runtime that loads it, e.g. ``onnx``."""
    digest: str
    files: tuple[ArtifactFile, ...]
    entry: str
    """Path of the file that the runtime opens."""

    @property
    def size(self) -> int:
        """Bytes over all files."""
        return sum(file.size for file in self.files)


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the confined probe measured on this machine when the version was stored."""

    row_independent: bool = False
    """Whether rows run as a batch gave what they give alone, within tolerance: only then are calls batched together."""
    single_us: float = 0.0
    """Median microseconds of a call with one row."""
    batch_us: float = 0.0
    """Median microseconds of a call with ``batch_rows`` rows."""
    batch_rows: int = 0
    memory_bytes: int = 0
    """Growth of the probe's resident memory by loading and running the model."""
    inline: bool = False
    """Whether it may run inside a worker."""
    reason: str = ""
    """Why not, where it may not."""


REPORT = "report.html"
"""Among a version's attachments, its page."""
WEIGHTS = "weights"
"""The folder among a version's attachments with weights that a training can go on from, as transformers saves them."""


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model card: what a caller should know before relying on a model. ``text`` is Markdown."""

    summary: str = ""
    intended_use: str = ""
    out_of_scope: str = ""
    training_data: str = ""
    contact: str = ""
    license: str = ""
    """An SPDX identifier, or a sentence."""
    text: str = ""


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a version came from; ids are 0 and digests empty where there was none."""

    dataset_digest: str = ""
    job_id: int = 0
    parent_version_id: int = 0
    source: str = ""
    """``train``, ``optimize``, ``push`` or the name of an importer."""
    detail: dict[str, Any] = {}


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A name that collects versions."""

    id: int
    workspace_id: int
    name: str
    description: str = ""
    tags: dict[str, str] = {}
    created_ns: int = 0
    latest: int = 0
    """Number of the newest version; 0 while there is none."""
    aliases: dict[str, int] = {}
    """Alias → version number."""


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """An immutable, content-addressed model artifact with everything that is known of it."""

    id: int
    workspace_id: int
    model_id: int
    model: str
    number: int
    artifact: Artifact
    signature: Signature
    profile: Profile
    metrics: dict[str, float] = {}
    """Held-out metrics by name, e.g. ``accuracy``."""
    report: dict[str, Any] = {}
    """The evaluation in full: leaderboard, confusion matrix, names of plots among ``attachments``."""
    attachments: tuple[ArtifactFile, ...] = ()
    """Plots, recipe and logs kept with the version; not part of the digest."""
    card: Card = Card()
    lineage: Lineage = Lineage()
    tags: dict[str, str] = {}
    created_ns: int = 0
    created_by: str = ""

    @property
    def digest(self) -> str:
        return self.artifact.digest

    @property
    def reference(self) -> str:
        """``name@number``."""
        return f"{self.model}@{self.number}"


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a content-addressed data set."""

    id: int
    workspace_id: int
    name: str
    number: int
    digest: str
    size: int
    filename: str
    schema: dict[str, Any] = {}
    created_ns: int = 0


class Reference(msgspec.Struct, frozen=True):
    """A parsed ``name``, ``name@3``, ``name@champion`` or ``name@latest``."""

    name: str
    version: str = ""
    """A number, an alias, ``latest`` or empty."""

    @property
    def number(self) -> int | None:
        """The version number, where the reference gives one."""
        return int(self.version) if self.version.isdigit() else None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads ``name[@version]``; ``v3`` and ``3`` mean the same.

        Raises InvalidRequest.
        """
        name, at, version = text.partition("@")
        check_name(name, "model")
        if at and not version:
            raise InvalidRequest(f"{text!r} ends after '@': give a version number or an alias, like {name}@3 or {name}@champion.")
        if _ALIAS_LIKE_NUMBER.fullmatch(version):
            version = str(int(version.lstrip("v")))
        elif version and version != "latest":
            check_name(version, "alias")
        return cls(name, version)

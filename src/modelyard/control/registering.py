"""From uploaded files to a version."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelyard.control.access import Caller
from modelyard.control.schemas import NewVersionBody
from modelyard.core.access import Action
from modelyard.core.errors import InvalidArtifact, InvalidRequest, PermissionDenied, Unsupported
from modelyard.core.models import ArtifactFile, Card, Lineage, Version
from modelyard.engines.confinement import why_not
from modelyard.registry.artifacts import check_files, check_path, lay_out
from modelyard.registry.submission import NewVersion
from modelyard.runtimes.detect import NEEDS_TRUST, RUNS_CODE
from modelyard.runtimes.remote_settings import parse_settings, sealing_context


def register(caller: Caller, name: str, body: NewVersionBody, lineage: Lineage) -> Version:
    """Lays the uploads out as a folder and hands them to the registry."""
    services = caller.services
    if body.format in NEEDS_TRUST and Action.TRUST not in caller.grant.actions:
        raise PermissionDenied(
            f"A model of the format {body.format!r} {NEEDS_TRUST[body.format]}, so pushing it needs the right 'trust', which key "
            f"{caller.grant.public_id!r} has not; ask somebody who has it."
        )
    _check_confinable(body.format, unconfined=services.import_unconfined)
    files = [ArtifactFile(path=file.path, digest=file.digest, size=0) for file in body.files]
    for file in files:
        if not services.blobs.exists(file.digest):
            raise InvalidArtifact(
                f"The content of {file.path!r} is not here (digest {file.digest[:12]}…); upload it first: PUT /api/v1/uploads."
            )
    entry = body.entry or (files[0].path if len(files) == 1 else "model.onnx")
    with tempfile.TemporaryDirectory(prefix="push-", dir=services.home.temporary) as folder:
        lay_out(check_files(files), services.blobs, Path(folder))
        if body.format == "remote":
            _check_keys(caller, Path(folder) / check_path(entry))
        source = NewVersion(
            folder=Path(folder),
            entry=entry,
            format=body.format,
            metrics=body.metrics,
            card=msgspec.convert(body.card.model_dump(), Card),
            lineage=lineage,
            tags=body.tags,
        )
        return services.registry.create_version(caller.actor, name, source)


def check_reach(caller: Caller, policy: Mapping[str, Any] | None) -> None:
    """Raises PermissionDenied for a policy that lets replicas out of their confinement, unless the caller may let code run."""
    replicas = (policy or {}).get("replicas")
    reach = replicas.get("reach", "own") if isinstance(replicas, Mapping) else "own"
    if reach != "own" and Action.TRUST not in caller.grant.actions:
        raise PermissionDenied(
            f"replicas.reach {str(reach)[:20]!r} lets a model's code out of its confinement, so it needs the right 'trust', which key "
            f"{caller.grant.public_id!r} has not; leave it out, or ask somebody who has it."
        )


def _check_confinable(format_name: str, *, unconfined: bool) -> None:
    """Raises Unsupported for a program on a machine that cannot confine it, unless its administrator accepts that."""
    reason = why_not() if format_name in RUNS_CODE and not unconfined else ""
    if reason:
        raise Unsupported(
            f"A model of the format {format_name!r} {NEEDS_TRUST[format_name]}, and this machine cannot confine it: {reason}. Convert it "
            "to ONNX, or have the administrator set MODELYARD_IMPORT_UNCONFINED."
        )


def _check_keys(caller: Caller, path: Path) -> None:
    """Raises InvalidArtifact when a sealed key of ``remote.json`` is none of this workspace's for that host."""
    if not path.is_file():
        raise InvalidArtifact(f"The artifact has no file {path.name!r}.")
    for endpoint in parse_settings(path.read_bytes(), path.name).endpoints:
        if endpoint.sealed_key:
            try:
                caller.services.sealer.open(endpoint.sealed_key, sealing_context(caller.workspace_id, endpoint.url))
            except InvalidRequest:
                raise InvalidArtifact(
                    f"The sealed key for {endpoint.origin} was sealed elsewhere or for another host; make one with: "
                    f"modelyard seal {endpoint.url}"
                ) from None

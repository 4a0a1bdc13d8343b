"""Models of a container contract: from where they lie to versions."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from modelyard.core.errors import InvalidArtifact, PermissionDenied, Unsupported
from modelyard.core.events import Actor
from modelyard.core.jobs import JobStatus
from modelyard.core.models import Lineage, Reference, Version
from modelyard.jobs.queue import JobQueue
from modelyard.registry.artifacts import scan
from modelyard.registry.service import Registry
from modelyard.registry.submission import NewVersion
from modelyard.runtimes.detect import NEEDS_TRUST, detect_format
from modelyard.server.settings import Settings, machine_memory
from modelyard.serving.deployments import DeploymentService
from modelyard.serving.hosting import HostOptions, ModelHost
from modelyard.serving.hosting_files import HostingFiles
from modelyard.serving.propagation import Propagation
from modelyard.store.blobs import Blobs
from modelyard.store.home import Home

_LOOK_S = 0.05
_SHARE = 0.7
"""Of the machine's memory, for models, where no setting says it; the rest is for the processes themselves and for runs."""


@dataclass(frozen=True)
class Bringing:
    """Lays a model out in a folder and registers it: as it is, where a runtime loads it so, and otherwise by an import."""

    registry: Registry
    jobs: JobQueue
    blobs: Blobs
    temporary: Path
    trusts: bool
    """Whether models may be programs, or of formats that run their maker's code when they are opened."""

    def __call__(self, actor: Actor, name: str, url: str, tags: Mapping[str, str]) -> Version:
        with tempfile.TemporaryDirectory(prefix="contract-", dir=self.temporary) as made:
            folder = Path(made) / "model"
            _lay_out(url, folder)
            found = _served_as_it_is(folder)
            if found is None:
                return self._imported(actor, name, folder, tags)
            format_name, entry = found
            if format_name in NEEDS_TRUST and not self.trusts:
                raise PermissionDenied(
                    f"The model {NEEDS_TRUST[format_name]}, which MODELYARD_CONTRACT_TRUST does not allow; set it if you know where models"
                    " come from."
                )
            lineage = Lineage(source="push")
            return self.registry.create_version(
                actor, name, NewVersion(folder=folder, entry=entry, format=format_name, tags=tags, lineage=lineage)
            )

    def _imported(self, actor: Actor, name: str, folder: Path, tags: Mapping[str, str]) -> Version:
        files = {file.path: self.blobs.put_file(folder / file.path).digest for file in scan(folder)}
        spec: dict[str, Any] = {"model": name, "files": files, "tags": dict(tags), "trust": self.trusts}
        job = self.jobs.submit(actor, "import", spec)
        while not job.status.ended:
            time.sleep(_LOOK_S)
            job = self.jobs.get(actor.workspace_id, job.id)
        if job.status is not JobStatus.SUCCEEDED:
            raise InvalidArtifact(job.error or f"The import of the model was {job.status}.")
        return self.registry.version(actor.workspace_id, Reference(name, str(job.result["version"])))


def _lay_out(url: str, folder: Path) -> None:
    """Copies what is at a path or URL. Raises OSError, InvalidArtifact where there is nothing, Unsupported for a scheme nobody reads."""
    if "://" in url:
        try:
            system, path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise Unsupported(f"{url[:200]!r} cannot be read here: {error}.") from None
        if not system.exists(path):
            raise InvalidArtifact(f"There is nothing at {url[:200]!r}.")
        folder.mkdir()
        system.get(path.rstrip("/") + "/" if system.isdir(path) else path, f"{folder}/", recursive=True)
        return
    source = Path(url)
    if source.is_dir():
        shutil.copytree(source, folder, symlinks=True)
    elif source.is_file():
        folder.mkdir()
        shutil.copy(source, folder / source.name)
    else:
        raise InvalidArtifact(f"There is no file or folder {url[:200]!r}.")


def _served_as_it_is(folder: Path) -> tuple[str, str] | None:
    """Format and entry of what a runtime loads as it is; None for what must be imported, or looked at by an import to say what is wrong."""
    if (folder / "text.json").is_file():
        return "hf_onnx", "model.onnx"
    try:
        found = detect_format(folder)
    except (InvalidArtifact, Unsupported):
        return None
    entry = next(item.name for item in sorted(folder.iterdir()) if item.suffix in {".onnx", ".py"})
    # A program beside other files may be part of a package that says itself how it is served.
    return (found, entry) if found == "onnx" or len(list(folder.iterdir())) == 1 else None


def model_host(
    settings: Settings, home: Home, blobs: Blobs, parts: tuple[Registry, JobQueue, DeploymentService, Propagation]
) -> ModelHost | None:
    """The host of a container contract's models; None where no contract loads any."""
    if not settings.contract or not (settings.contract_models or settings.contract_model):
        return None
    registry, jobs, deployments, propagation = parts
    bring = Bringing(registry, jobs, blobs, home.temporary, settings.contract_trust)
    options = HostOptions(
        memory_bytes=settings.contract_memory_bytes or int(_SHARE * machine_memory()),
        workers=settings.worker_count,
        first="" if settings.contract_models else settings.contract_model,
        first_name=settings.contract_deployment or "model",
    )
    return ModelHost(HostingFiles(home.hosting), bring, registry, deployments, propagate=propagation.wait, options=options)

"""Models, their versions, files and aliases."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, Unpack

import msgspec

from modelyard.core.api import Upload, UploadProgress
from modelyard.core.errors import Conflict, Unavailable
from modelyard.core.models import Card, Model, Reference, Version
from modelyard.core.signature import TensorSpec
from modelyard.sdk.async_resources.jobs import AsyncJobs, OnProgress
from modelyard.sdk.async_transport import AsyncTransport, OnBytes, pause_before
from modelyard.sdk.files import (
    PIECEWISE,
    RESUMPTIONS,
    UPLOAD_PIECE,
    FileToPush,
    collect,
    detected_format,
    digest_of,
    entry_of,
    open_file,
    quoted,
    read_at,
    served_as_is,
    size_of,
)
from modelyard.sdk.mlflow_models import fetch_mlflow_model, is_mlflow_reference
from modelyard.sdk.waiting import async_call, async_sleep

OnPush = Callable[[str, int, int], None]
"""Called with a file's path inside the artifact, the bytes sent of all files so far, and their total."""
Versions = list[Version]
Files = list[FileToPush]
DEFAULT_VERSION = "-"
"""In a path: the model's champion, or its newest version where it has none."""


class Said(TypedDict, total=False):
    """What may be said of a model that is not ONNX yet; all of it is found out where it can be."""

    format: str
    """Its format by name; ``auto`` looks at the content."""
    trust: bool
    """That a format may be opened that can run its maker's code; needs the right ``trust``."""
    sample: str | Path
    """A table (CSV) or tensors (``.npz``): rows on which the conversion is compared with the original."""
    signature: Sequence[str]
    """Inputs like ``x:FP32[-1,4]``, where neither the format nor a sample says them."""
    outputs: Sequence[str]
    """Names of the outputs, in order."""
    base: str
    """The version that an adapter changes, like ``words@1``."""
    runtime: str
    """Name of the runtime that loads the files as they are: nothing is converted then."""
    on_step: OnProgress
    """Called with the progress of the import."""


class AsyncModels:
    """What the registry holds."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, *, search: str = "", tags: Mapping[str, str] | None = None, metric: str = "") -> list[Model]:
        """Models whose name contains ``search`` and that carry all ``tags``; ``metric`` like ``accuracy>=0.9`` asks their versions."""
        tag = [f"{name}={value}" for name, value in (tags or {}).items()]
        params = {"search": search, "tag": tag or None, "metric": metric}
        return await self._transport.fetch(list[Model], "GET", "/api/v1/models", params=params)

    async def get(self, name: str) -> Model:
        return await self._transport.fetch(Model, "GET", f"/api/v1/models/{quoted(name)}")

    async def update(self, name: str, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Model:
        """Changes what is given and leaves the rest."""
        changes = {"description": description, "tags": tags}
        body = {field: value for field, value in changes.items() if value is not None}
        return await self._transport.fetch(Model, "PATCH", f"/api/v1/models/{quoted(name)}", json=body)

    async def delete(self, name: str) -> None:
        """Removes a model with all its versions; refused while a deployment uses it."""
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/models/{quoted(name)}")

    async def versions(self, name: str) -> Versions:
        """All versions of a model, newest first."""
        return await self._transport.fetch(Versions, "GET", f"/api/v1/models/{quoted(name)}/versions")

    async def version(self, reference: str) -> Version:
        """The version that ``name``, ``name@3``, ``name@champion`` or ``name@latest`` means."""
        return await self._transport.fetch(Version, "GET", _version_path(reference))

    async def push(
        self,
        path: str | Path,
        name: str,
        *,
        card: Card | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        on_progress: OnPush | None = None,
        **said: Unpack[Said],
    ) -> Version:
        """Uploads a model file or folder and registers it as the next version of ``name``.

        ``path`` may also be a reference of MLflow's, like ``models:/churn/3``, which is fetched with the client's own MLflow. What is no
        ONNX model is imported: see ``Said`` for what may be said of it. Raises JobFailed with the reason when it cannot be.
        """
        if is_mlflow_reference(str(path)):
            with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
                fetched = await async_call(fetch_mlflow_model, str(path), Path(folder))
                noted = {"mlflow": str(path), **(tags or {})}
                return await self.push(fetched, name, card=card, tags=noted, metrics=metrics, on_progress=on_progress, **said)
        files = await async_call(collect, Path(path))
        format_name = said.get("format", "auto")
        runtime = said.get("runtime", "")
        listed = await self._sent(files, on_progress)
        described = {"card": msgspec.to_builtins(card or Card()), "tags": dict(tags or {}), "metrics": dict(metrics or {})}
        if not runtime and not served_as_is(files, format_name):
            return await self._imported(name, listed, described, said)
        body = {
            "files": [{"path": path, "digest": digest} for path, digest in listed.items()],
            "entry": entry_of(files),
            "format": runtime or detected_format(files),
        }
        return await self._transport.fetch(Version, "POST", f"/api/v1/models/{quoted(name)}/versions", json=body | described)

    async def _sent(self, files: Files, on_progress: OnPush | None) -> dict[str, str]:
        """Uploads files; path → digest."""
        total = sum(file.size for file in files)
        listed: dict[str, str] = {}
        before = 0
        for file in files:
            done = await self.upload(file.source, on_bytes=_reporter(on_progress, file.path, before, total))
            listed[file.path] = done.digest
            before += file.size
        return listed

    async def _imported(self, name: str, listed: dict[str, str], described: dict[str, Any], said: Said) -> Version:
        spec: dict[str, Any] = {"model": name, "files": listed, "format": said.get("format", "auto"), "trust": said.get("trust", False)}
        sample = said.get("sample")
        if sample is not None:
            spec |= {"sample": (await self.upload(sample)).digest, "sample_name": Path(sample).name}
        specs = [TensorSpec.parse(text) for text in said.get("signature", ())]
        spec |= {"signature": msgspec.to_builtins(specs), "outputs": list(said.get("outputs", ()))}
        spec |= {"base": said["base"]} if said.get("base") else {}
        jobs = AsyncJobs(self._transport)
        job = await jobs.submit("import", spec | described)
        job = await jobs.wait(job.id, on_progress=said.get("on_step"), every=0.2)
        return await self.version(f"{job.result['model']}@{job.result['version']}")

    async def upload(self, path: str | Path, *, on_bytes: OnBytes | None = None) -> Upload:
        """Stores the bytes of one file, to be named by its digest later; a large one in pieces, which goes on after a broken connection."""
        with await async_call(open_file, Path(path)) as stream:
            size = await async_call(size_of, stream)
            if size <= PIECEWISE:
                return await self._transport.upload(Upload, "PUT", "/api/v1/uploads", stream, on_bytes=on_bytes)
            return await self._send(stream, size, on_bytes)

    async def _send(self, stream: BinaryIO, size: int, on_bytes: OnBytes | None) -> Upload:
        digest = await async_call(digest_of, stream)
        place, failures = f"/api/v1/uploads/{digest}", 0
        progress: UploadProgress = await self._transport.fetch(UploadProgress, "GET", place)
        while not progress.done:
            piece = await async_call(read_at, stream, progress.received, UPLOAD_PIECE)
            try:
                progress = await self._transport.send_piece(UploadProgress, place, piece, {"offset": progress.received, "size": size})
                failures = 0
            except (Unavailable, Conflict):
                failures += 1
                if failures > RESUMPTIONS:
                    raise
                await async_sleep(pause_before(failures, None))
                progress = await self._transport.fetch(UploadProgress, "GET", place)
            if on_bytes is not None:
                on_bytes(progress.received)
        return Upload(digest=digest, size=size)

    async def compare(self, first: str, second: str) -> dict[str, Any]:
        """Two versions side by side: their metrics, signatures, files and lineage, and what differs."""
        one, two = Reference.parse(first), Reference.parse(second)
        params = {"a": _label(one), "b": f"{two.name}@{_label(two)}"}
        return await self._transport.fetch(dict[str, Any], "GET", f"/api/v1/models/{quoted(one.name)}/compare", params=params)

    async def promote(self, reference: str, alias: str = "champion") -> Version:
        """Points ``alias`` at a version; deployments that follow the alias switch within a second."""
        wanted = Reference.parse(reference)
        path = f"/api/v1/models/{quoted(wanted.name)}/aliases/{quoted(alias)}"
        return await self._transport.fetch(Version, "PUT", path, json={"version": _label(wanted)})

    async def rollback(self, name: str, alias: str = "champion") -> Version:
        """Points ``alias`` back at the version it meant before."""
        path = f"/api/v1/models/{quoted(name)}/aliases/{quoted(alias)}/rollback"
        return await self._transport.fetch(Version, "POST", path)

    async def remove_alias(self, name: str, alias: str) -> None:
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/models/{quoted(name)}/aliases/{quoted(alias)}")

    async def download(self, reference: str, path: str, to: BinaryIO) -> int:
        """Writes one file of a version to ``to``; its size in bytes."""
        return await self._transport.download(f"{_version_path(reference)}/files/{quoted(path, keep='/')}", to)

    async def report(self, reference: str, to: BinaryIO) -> int:
        """Writes the version's page, one HTML file that needs nothing else, to ``to``; its size in bytes."""
        return await self._transport.download(f"{_version_path(reference)}/report", to)

    async def attachment(self, reference: str, path: str, to: BinaryIO) -> int:
        """Writes one attachment (a plot, the recipe) of a version to ``to``; its size in bytes."""
        return await self._transport.download(f"{_version_path(reference)}/attachments/{quoted(path, keep='/')}", to)


def _reporter(on_progress: OnPush | None, path: str, before: int, total: int) -> OnBytes | None:
    """From bytes of one file to bytes of all."""
    if on_progress is None:
        return None
    report = on_progress
    return lambda sent: report(path, before + sent, total)


def _label(reference: Reference) -> str:
    return reference.version or DEFAULT_VERSION


def _version_path(reference: str) -> str:
    wanted = Reference.parse(reference)
    return f"/api/v1/models/{quoted(wanted.name)}/versions/{quoted(_label(wanted))}"

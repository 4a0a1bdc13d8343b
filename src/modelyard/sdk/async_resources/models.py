"""Models, their versions, files and aliases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from modelyard.core.api import Upload
from modelyard.core.models import Card, Model, Reference, Version
from modelyard.sdk.async_transport import AsyncTransport, OnBytes
from modelyard.sdk.files import collect, detected_format, entry_of, open_file, quoted
from modelyard.sdk.waiting import async_call

OnPush = Callable[[str, int, int], None]
"""Called with a file's path inside the artifact, the bytes sent of all files so far, and their total."""
Versions = list[Version]
DEFAULT_VERSION = "-"
"""In a path: the model's champion, or its newest version where it has none."""


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
        format: str = "",  # noqa: A002 - the word callers know
        card: Card | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        on_progress: OnPush | None = None,
    ) -> Version:
        """Uploads a model file or folder and registers it as the next version of ``name``."""
        files = await async_call(collect, Path(path))
        total = sum(file.size for file in files)
        listed: list[dict[str, str]] = []
        before = 0
        for file in files:
            done = await self.upload(file.source, on_bytes=_reporter(on_progress, file.path, before, total))
            listed.append({"path": file.path, "digest": done.digest})
            before += file.size
        body = {
            "files": listed,
            "entry": entry_of(files),
            "format": format or detected_format(files),
            "card": msgspec.to_builtins(card or Card()),
            "tags": dict(tags or {}),
            "metrics": dict(metrics or {}),
        }
        return await self._transport.fetch(Version, "POST", f"/api/v1/models/{quoted(name)}/versions", json=body)

    async def upload(self, path: str | Path, *, on_bytes: OnBytes | None = None) -> Upload:
        """Stores the bytes of one file, to be named by its digest later."""
        with await async_call(open_file, Path(path)) as stream:
            return await self._transport.upload(Upload, "PUT", "/api/v1/uploads", stream, on_bytes=on_bytes)

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

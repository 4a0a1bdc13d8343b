"""Data sets that jobs read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from modelyard.core.models import Dataset
from modelyard.sdk.async_transport import AsyncTransport, OnBytes
from modelyard.sdk.files import data_filename, open_data, quoted
from modelyard.sdk.waiting import async_call


class AsyncDatasets:
    """Versioned tables and other data, by content."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(self, path: str | Path, name: str, *, on_bytes: OnBytes | None = None) -> Dataset:
        """Stores a file, or a folder as one archive, as the next version of the data set ``name``; the same content again is the same."""
        params = {"name": name, "filename": data_filename(Path(path))}
        with await async_call(open_data, Path(path)) as stream:
            return await self._transport.upload(Dataset, "POST", "/api/v1/datasets", stream, params=params, on_bytes=on_bytes)

    async def download(self, reference: str, to: BinaryIO) -> int:
        """Writes the file of ``name@number`` to ``to``; its size in bytes."""
        name, _, number = reference.partition("@")
        return await self._transport.download(f"/api/v1/datasets/{quoted(name)}/{quoted(number)}/content", to)

    async def list(self) -> list[Dataset]:
        return await self._transport.fetch(list[Dataset], "GET", "/api/v1/datasets")

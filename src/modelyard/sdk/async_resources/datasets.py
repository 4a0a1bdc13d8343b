"""Data sets that jobs read."""

from __future__ import annotations

from pathlib import Path

from modelyard.core.models import Dataset
from modelyard.sdk.async_transport import AsyncTransport, OnBytes
from modelyard.sdk.files import open_table
from modelyard.sdk.waiting import async_call


class AsyncDatasets:
    """Versioned tables, by content."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(self, path: str | Path, name: str, *, on_bytes: OnBytes | None = None) -> Dataset:
        """Stores a file as the next version of the data set ``name``; the same content again is the same version."""
        params = {"name": name, "filename": Path(path).name}
        with await async_call(open_table, Path(path)) as stream:
            return await self._transport.upload(Dataset, "POST", "/api/v1/datasets", stream, params=params, on_bytes=on_bytes)

    async def list(self) -> list[Dataset]:
        return await self._transport.fetch(list[Dataset], "GET", "/api/v1/datasets")

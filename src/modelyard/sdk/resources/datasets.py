# Generated from async_resources/datasets.py by scripts/unasync.py; edit that file and run the script.
"""Data sets that jobs read."""

from __future__ import annotations

from pathlib import Path

from modelyard.core.models import Dataset
from modelyard.sdk.files import open_table
from modelyard.sdk.transport import OnBytes, Transport
from modelyard.sdk.waiting import call


class Datasets:
    """Versioned tables, by content."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(self, path: str | Path, name: str, *, on_bytes: OnBytes | None = None) -> Dataset:
        """Stores a file as the next version of the data set ``name``; the same content again is the same version."""
        params = {"name": name, "filename": Path(path).name}
        with call(open_table, Path(path)) as stream:
            return self._transport.upload(Dataset, "POST", "/api/v1/datasets", stream, params=params, on_bytes=on_bytes)

    def list(self) -> list[Dataset]:
        return self._transport.fetch(list[Dataset], "GET", "/api/v1/datasets")

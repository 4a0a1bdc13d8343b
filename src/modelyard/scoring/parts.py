"""Answered shards on disk, and how they become one result: every row once, in the input's order."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from modelyard.core.errors import JobFailed


class Parts:
    """A file a shard. One that is there is whole: it comes to its name by renaming."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob("*.part"):
            torn.unlink()

    def done(self) -> list[bool]:
        """For each number up to the largest that is there, whether it is."""
        there = {int(path.stem) for path in self._folder.glob("*.arrow")}
        return [number in there for number in range(max(there, default=-1) + 1)]

    def put(self, number: int, table: pa.Table) -> None:
        place = self._place(number)
        part = place.with_suffix(".part")
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        part.replace(place)

    def tables(self, count: int) -> Iterator[pa.Table]:
        """In order. Raises JobFailed where one is missing."""
        for number in range(count):
            if not self._place(number).exists():
                raise JobFailed(f"Shard {number} of the predictions is missing, so the result would not be whole; resume the job.")
            with pa.memory_map(str(self._place(number))) as source:
                yield pa.ipc.open_file(source).read_all()

    def _place(self, number: int) -> Path:
        return self._folder / f"{number:08d}.arrow"


def write_result(parts: Parts, count: int, output: Path, form: str, *, partitioned: bool) -> tuple[Path, int]:
    """One file, or an archive of one a shard; its path and how many rows it has."""
    if partitioned:
        return _archive(parts, count, output, form)
    path, rows = output / f"predictions.{form}", 0
    writer: pq.ParquetWriter | pacsv.CSVWriter | None = None
    try:
        for table in parts.tables(count):
            if writer is None:
                writer = (pq.ParquetWriter if form == "parquet" else pacsv.CSVWriter)(path, table.schema)
            writer.write_table(table)
            rows += len(table)
    finally:
        if writer is not None:
            writer.close()
    return path, rows


def _archive(parts: Parts, count: int, output: Path, form: str) -> tuple[Path, int]:
    path, rows = output / "predictions.zip", 0
    write = pq.write_table if form == "parquet" else pacsv.write_csv
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, table in enumerate(parts.tables(count)):
            single = output / "single"
            write(table, single)
            archive.write(single, f"part-{number:05d}.{form}")
            single.unlink()
            rows += len(table)
    return path, rows

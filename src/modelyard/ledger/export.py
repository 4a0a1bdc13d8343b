"""Usage as files: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import IO, Any

import msgspec

from modelyard.core.errors import Unsupported
from modelyard.core.usage import USAGE_GROUPS, UsageRow
from modelyard.store.usage_sums import TOLD


class ExportFormat(StrEnum):
    """A kind of file."""

    CSV = "csv"  # a line of headings first
    JSONL = "jsonl"  # one JSON object a line
    PARQUET = "parquet"  # one row group a few thousand rows

    @property
    def media_type(self) -> str:
        """What HTTP calls it."""
        return {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}[self.value]


def write_usage(pages: Iterable[Sequence[UsageRow]], by: Sequence[str], kind: ExportFormat, file: IO[bytes]) -> None:
    """Writes rows of ``by`` to ``file``; memory holds one page.

    Raises Unsupported for Parquet where pyarrow is not installed.
    """
    columns = ["start", *_labels(by), *TOLD]
    if kind is ExportFormat.PARQUET:
        _write_parquet(pages, columns, file)
        return
    if kind is ExportFormat.CSV:
        file.write((",".join(columns) + "\r\n").encode())
    for page in pages:
        rows = _rows(page, columns)
        file.write(_csv(rows) if kind is ExportFormat.CSV else b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def _labels(by: Sequence[str]) -> list[str]:
    named = [name for name in USAGE_GROUPS if name in by]
    if "key" in named:
        named.insert(named.index("key") + 1, "key_label")
    return ["workspace", *named] if "workspace" in by else named


def _rows(page: Sequence[UsageRow], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row in page:
        # The beginning of the ledger is no date.
        start = datetime.fromtimestamp(row.start_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if row.start_ns else None
        yield {"start": start} | {name: getattr(row, name) for name in columns[1:]}


def _csv(rows: Iterable[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_harmless(value) for value in row.values()] for row in rows)
    return text.getvalue().encode()


def _harmless(value: Any) -> Any:
    """A key's label is a caller's own text: spreadsheets must not take it for a formula."""
    return "'" + value if isinstance(value, str) and len(value) > 1 and value[0] in "=+-@\t\r" else value


def _write_parquet(pages: Iterable[Sequence[UsageRow]], columns: Sequence[str], file: IO[bytes]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise Unsupported("Parquet needs pyarrow on the server: pip install 'modelyard[data]'; or ask for csv or jsonl.") from None
    kinds = {"start": pa.timestamp("s", "UTC")} | dict.fromkeys(TOLD, pa.int64())
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    with parquet.ParquetWriter(file, schema) as writer:
        for page in pages:
            values: dict[str, list[Any]] = {name: [getattr(row, name) for row in page] for name in columns[1:]}
            values["start"] = [row.start_ns // 1_000_000_000 or None for row in page]
            writer.write_table(pa.table(values, schema))

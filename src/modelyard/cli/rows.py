"""Rows of a file as calls of a deployment: CSV stays CSV, because the model's signature says what its cells are."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidData

AT_ONCE = 1000
"""Rows in one call."""
SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class Records:
    """Rows by column name, from JSON."""

    rows: list[Any]


@dataclass(frozen=True)
class Table:
    """Cells under a header, from CSV."""

    header: list[str]
    rows: list[list[str]]


def read_rows(source: str) -> Records | Table:
    """The rows of a file, or of standard input for ``-``: JSON when it looks like it, JSON lines, otherwise CSV.

    Raises InvalidData.
    """
    name, data = ("standard input", sys.stdin.buffer.read()) if source == "-" else (source, _content(Path(source)))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidData(f"{name} is not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    if not text.strip():
        raise InvalidData(f"{name} is empty; give rows as CSV with a header, or as JSON.")
    suffix = Path(source).suffix.lower()
    if suffix in {".jsonl", ".ndjson"}:
        return Records([_json(line, f"{name}, line {number}") for number, line in enumerate(text.splitlines(), 1) if line.strip()])
    if suffix == ".json" or (suffix not in {".csv", ".tsv"} and text.lstrip()[0] in "[{"):
        return Records(_listed(_json(text, name), name))
    return _table(text, name)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidData(f"{str(path)!r} cannot be read: {error.strerror}; give a CSV or JSON file, or - for standard input.") from None


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidData(f"{name} is not valid JSON: {error}.") from None


def _listed(document: Any, name: str) -> list[Any]:
    """The rows in a JSON document: a list, ``{"records": [...]}``, or one record."""
    if isinstance(document, dict):
        records = document.get("records")
        return records if isinstance(records, list) else [document]
    if isinstance(document, list):
        return document
    raise InvalidData(f'{name} must hold a list of records, like [{{"column": 1}}].')


def _table(text: str, name: str) -> Table:
    head = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=head.count)
    try:
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row]
    except csv.Error as error:
        raise InvalidData(f"{name} cannot be read as CSV: {error}.") from None
    if len(lines) < 2:
        raise InvalidData(f"{name} has no rows below its header.")
    header = [cell.strip() for cell in lines[0]]
    for number, row in enumerate(lines[1:], 2):
        if len(row) != len(header):
            raise InvalidData(f"{name}, row {number} has {len(row)} cells, but the header has {len(header)}.")
    return Table(header, lines[1:])


def without_others(table: Table, columns: Sequence[str]) -> tuple[Table, list[str]]:
    """The table with only the columns that the model takes, and the names of those left out.

    Raises InvalidData when none is left.
    """
    kept = [index for index, name in enumerate(table.header) if name in columns]
    if not kept:
        raise InvalidData(f"The table has none of the model's columns ({', '.join(columns)}); it has: {', '.join(table.header)}.")
    dropped = [name for name in table.header if name not in columns]
    return Table([table.header[index] for index in kept], [[row[index] for index in kept] for row in table.rows]), dropped


def csv_parts(table: Table) -> Iterator[bytes]:
    """CSV bodies of so many rows that each fits one call."""
    for start in range(0, len(table.rows), AT_ONCE):
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(table.header)
        # A row that is one empty cell would be a blank line, which readers skip; quotes keep it.
        csv.writer(text, quoting=csv.QUOTE_ALL if len(table.header) == 1 else csv.QUOTE_MINIMAL).writerows(
            table.rows[start : start + AT_ONCE]
        )
        yield text.getvalue().encode()

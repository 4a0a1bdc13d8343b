"""Reads a file into a table: text tables with our own inference of types, Parquet through pyarrow.

A text table is read in chunks straight into typed arrays. Columns begin as what a sample makes of them; when a later cell proves one
wrong, the file is read to its end to find all wrong ones and then once more with the wider type.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from modelyard.core.errors import InvalidData
from modelyard.datasets.builders import Builder, NumberBuilder, TextBuilder
from modelyard.datasets.parquet import is_parquet, read_parquet
from modelyard.datasets.sniff import DEFAULT_MISSING, Dialect, looks_like_header, sample_rows, sniff
from modelyard.datasets.table import Column, Source, Table

_CHUNK = 5_000
_SAMPLE_CHARACTERS = 1 << 18


@dataclass(frozen=True)
class ReadOptions:
    """What the owner says about the file; everything left out is found out."""

    encoding: str = ""
    separator: str = ""
    decimal: str = ""
    """``.`` or ``,``."""
    header: bool | None = None
    missing: tuple[str, ...] | None = None
    """Cells that mean "no value"; replaces the usual list. Empty cells always do."""
    texts: frozenset[str] = frozenset()
    """Columns to be kept as text although they look like numbers."""

    @property
    def markers(self) -> frozenset[str]:
        if self.missing is None:
            return DEFAULT_MISSING
        return frozenset({"", *(marker.strip().casefold() for marker in self.missing)})


@dataclass
class _Plan:
    """What is believed of the file while it is read."""

    path: Path
    name: str
    dialect: Dialect
    header: bool
    names: list[str]
    kinds: list[str]
    """For each column ``.`` or ``,`` (numbers with that decimal sign) or ``text``."""
    fixed_decimal: str
    markers: frozenset[str]
    notes: dict[int, str] = field(default_factory=dict)

    def demote(self, column: int, cell: str, row: int) -> None:
        """Gives a column the next wider type because of a cell."""
        if self.kinds[column] == "." and not self.fixed_decimal and self.dialect.separator != ",":
            self.kinds[column] = ","
        else:
            self.kinds[column] = "text"
        self.notes.setdefault(column, f"Kept as text: data row {row} holds {cell[:40]!r}, which is no number.")


def read_table(path: Path, options: ReadOptions | None = None, name: str = "") -> Table:
    """The table in a CSV-like or Parquet file. ``name`` is what messages call the file.

    Raises InvalidData with one sentence for whatever keeps the file from being one.
    """
    options = options or ReadOptions()
    name = name or path.name
    if is_parquet(path):
        return read_parquet(path, name, options.markers, options.texts)
    try:
        return _read_text(_plan(path, name, options))
    except csv.Error as error:
        raise InvalidData(f"{name} cannot be taken apart into cells: {error}; is a quotation mark left open?") from None


def _plan(path: Path, name: str, options: ReadOptions) -> _Plan:
    if options.separator and (len(options.separator) != 1 or options.separator in '\r\n"'):
        raise InvalidData(f"reading.separator must be one character and no quotation mark or line end, not {options.separator!r}.")
    dialect = sniff(path, name, options.encoding, options.separator)
    with path.open(encoding=dialect.encoding, newline="") as file:
        for _ in range(dialect.skip_lines):
            file.readline()
        sample = file.read(_SAMPLE_CHARACTERS)
        whole = not file.read(1)
    rows = sample_rows(sample, dialect.separator, whole=whole)
    if not rows:
        raise InvalidData(f"{name} has no rows that can be read; give a table with a header row and data rows.")
    header = options.header if options.header is not None else True
    if options.header is None and not looks_like_header(rows[0], rows[1:], options.markers):
        raise InvalidData(
            f"The first row of {name} looks like data ({', '.join(rows[0][:3])}, …), not like column names; "
            "add a header row, or set reading.header to false (or to true if these are names)."
        )
    names = _names(rows[0], name) if header else [f"column_{at + 1}" for at in range(len(rows[0]))]
    plan = _Plan(path, name, dialect, header, names, ["."] * len(names), options.decimal, options.markers)
    _guess(plan, rows[1:] if header else rows, options)
    return plan


def _names(cells: Sequence[str], file: str) -> list[str]:
    names = [cell.strip().lstrip("\ufeff") or f"column_{at + 1}" for at, cell in enumerate(cells)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidData(f"{file} has more than one column called {twice[0]!r}; give every column its own name.")
    return names


def _guess(plan: _Plan, rows: Sequence[Sequence[str]], options: ReadOptions) -> None:
    """Sets each column's first type from the sample, so that most files are read once only."""
    for at, column in enumerate(plan.names):
        if options.decimal:
            plan.kinds[at] = options.decimal
        if column in options.texts:
            plan.kinds[at] = "text"
            continue
        cells = [row[at] for row in rows if len(row) > at]
        while plan.kinds[at] != "text":
            wrong = NumberBuilder(plan.markers, plan.kinds[at]).add(cells)
            if wrong is None:
                break
            plan.demote(at, cells[wrong], wrong + 1)


def _read_text(plan: _Plan) -> Table:
    while True:
        builders: list[Builder] = [
            TextBuilder(plan.markers) if kind == "text" else NumberBuilder(plan.markers, kind) for kind in plan.kinds
        ]
        if _fill(plan, builders):
            break
    columns = [builder.build(name, _note(plan, at)) for at, (name, builder) in enumerate(zip(plan.names, builders, strict=True))]
    columns = _without_unnamed_empty(columns)
    if not len(columns[0].values):
        raise InvalidData(f"{plan.name} has a header but no data rows; add rows.")
    dialect = plan.dialect
    source = Source(plan.name, "csv", dialect.encoding, dialect.separator, plan.header, dialect.notes)
    return Table(tuple(columns), source)


def _note(plan: _Plan, at: int) -> str:
    """Which cell kept the column from being numbers; whether that is worth saying is for the profile to judge."""
    return plan.notes.get(at, "") if plan.kinds[at] == "text" else ""


def _without_unnamed_empty(columns: list[Column]) -> list[Column]:
    """Drops what a separator at the end of each line makes: a column without name and values."""
    kept = [column for at, column in enumerate(columns) if column.name != f"column_{at + 1}" or not column.missing.all()]
    return kept or columns


def _fill(plan: _Plan, builders: list[Builder]) -> bool:
    """Reads the whole file into the builders; False when a type was wrong and the file must be read again."""
    right = [True] * len(builders)
    first = 1
    for rows in _chunks(plan):
        for at, cells in enumerate(zip(*rows, strict=True)):
            wrong = builders[at].add(cells) if right[at] else None
            if wrong is not None:
                right[at] = False
                plan.demote(at, cells[wrong], first + wrong)
        first += len(rows)
    return all(right)


def _chunks(plan: _Plan) -> Iterator[list[list[str]]]:
    """The data rows, many at a time, each with as many cells as there are names."""
    width = len(plan.names)
    with plan.path.open(encoding=plan.dialect.encoding, newline="") as file:
        for _ in range(plan.dialect.skip_lines):
            file.readline()
        reader = csv.reader(file, delimiter=plan.dialect.separator, strict=True)
        waiting_for_header = plan.header
        while True:
            line = reader.line_num
            rows = list(islice(reader, _CHUNK))
            if not rows:
                return
            if waiting_for_header:
                while rows and not any(rows[0]):
                    line += 1
                    rows.pop(0)
                if not rows:
                    continue
                line += 1 + _line_ends(rows.pop(0))
                waiting_for_header = False
            if set(map(len, rows)) != {width}:
                rows = _even(rows, plan, line)
            if rows:
                yield rows


def _even(rows: list[list[str]], plan: _Plan, line: int) -> list[list[str]]:
    """The rows without blank lines.

    Raises InvalidData with the line of the first row that has more or fewer cells than the header.
    """
    kept: list[list[str]] = []
    line += plan.dialect.skip_lines
    for row in rows:
        line += 1
        if len(row) == len(plan.names):
            kept.append(row)
        elif row and any(row):
            what = "the header" if plan.header else "the first row"
            raise InvalidData(
                f"Line {line} of {plan.name} has {len(row)} cells, but {what} has {len(plan.names)}; "
                "mend the line, or quote cells that hold the separator."
            )
        line += _line_ends(row)
    return kept


def _line_ends(row: Sequence[str]) -> int:
    """Lines a row takes beyond its first, by line ends inside quoted cells."""
    return sum(len(io.StringIO(cell, newline=None).read().split("\n")) - 1 for cell in row if "\n" in cell or "\r" in cell)

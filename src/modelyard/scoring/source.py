"""A table as a stream of shards, each the same every time: CSV and Parquet through pyarrow, never more than a few shards in memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from modelyard.core.errors import InvalidData, did_you_mean
from modelyard.core.signature import Signature
from modelyard.core.tensors import NUMPY, Array, Datatype
from modelyard.datasets.parquet import is_parquet
from modelyard.datasets.sniff import DEFAULT_MISSING, sniff

_BLOCK = 8 << 20
"""Bytes of CSV that are read at once."""
_ARROW = {
    Datatype.FP32: pa.float32(),
    Datatype.FP64: pa.float64(),
    Datatype.INT8: pa.int8(),
    Datatype.INT16: pa.int16(),
    Datatype.INT32: pa.int32(),
    Datatype.INT64: pa.int64(),
    Datatype.BOOL: pa.bool_(),
    Datatype.BYTES: pa.string(),
}
_CELL = re.compile(r"In CSV column #(?P<column>\d+): (?:CSV conversion error to (?P<kind>\w+): )?(?P<rest>.*)")


class Source(Protocol):
    """Shards of a table, by number."""

    form: str

    @property
    def rows(self) -> int:
        """How many there are; -1 while nobody has counted."""

    def shards(self, done: Sequence[bool]) -> Iterator[tuple[int, pa.RecordBatch | None, float]]:
        """(number, rows or None where ``done`` says that nobody needs them, share of the file behind it)."""


def open_source(path: Path, name: str, wanted: Sequence[str], types: dict[str, pa.DataType], rows: int) -> Source:
    """Raises InvalidData when a column is missing or the file is no table."""
    if is_parquet(path):
        return _Parquet(path, name, wanted, rows)
    return _Csv(path, name, wanted, types, rows)


def column_types(signature: Signature, name: str) -> dict[str, pa.DataType]:
    """What each input's column is read as.

    Raises InvalidData for a model whose inputs are no columns.
    """
    for spec in signature.inputs:
        if len(spec.shape) > 2 or (len(spec.shape) == 2 and spec.shape[1] != 1) or spec.datatype not in _ARROW:
            raise InvalidData(f"{name} takes {spec.name!r} as {spec.datatype}{spec.wire_shape}, which is no column of a table.")
    return {spec.name: _ARROW[spec.datatype] for spec in signature.inputs}


def to_inputs(batch: pa.RecordBatch, signature: Signature) -> dict[str, Array]:
    """The model's inputs: a missing number is NaN, a missing word the empty one.

    Raises InvalidData for a missing value where the model has no way to say so.
    """
    found: dict[str, Array] = {}
    for spec in signature.inputs:
        column = batch.column(spec.name)
        if spec.datatype is Datatype.BYTES:
            values: Array = column.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)
        elif spec.datatype.is_float:
            values = column.cast(_ARROW[spec.datatype], safe=False).to_numpy(zero_copy_only=False).astype(NUMPY[spec.datatype], copy=False)
        elif column.null_count:
            raise InvalidData(f"Column {spec.name!r} has missing values, and the model takes {spec.datatype}, which cannot be missing.")
        else:
            values = column.cast(_ARROW[spec.datatype]).to_numpy(zero_copy_only=False)
        found[spec.name] = np.ascontiguousarray(values.reshape((-1, 1) if len(spec.shape) == 2 else (-1,)))
    return found


def _check_columns(present: Sequence[str], wanted: Sequence[str], name: str) -> None:
    for column in wanted:
        if column not in present:
            raise InvalidData(f"{name} has no column {column!r}.{did_you_mean(column, present)} Columns: {', '.join(list(present)[:30])}.")


class _Parquet:
    """Row groups, in parts."""

    form = "parquet"

    def __init__(self, path: Path, name: str, wanted: Sequence[str], rows: int) -> None:
        self._path, self._name, self._wanted, self._rows = path, name, list(dict.fromkeys(wanted)), rows
        try:
            with pq.ParquetFile(path) as file:
                self._groups = [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)]
                _check_columns(file.schema_arrow.names, self._wanted, name)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(name, error) from None

    @property
    def rows(self) -> int:
        return sum(self._groups)

    def shards(self, done: Sequence[bool]) -> Iterator[tuple[int, pa.RecordBatch | None, float]]:
        number, behind = 0, 0
        try:
            with pq.ParquetFile(self._path) as file:
                for group, count in enumerate(self._groups):
                    numbers = range(number, number + -(-count // self._rows))
                    sizes = [min(self._rows, count - self._rows * at) for at in range(len(numbers))]
                    if all(at < len(done) and done[at] for at in numbers):
                        batches: Iterator[Any] = iter([None] * len(numbers))
                    else:
                        batches = file.iter_batches(self._rows, row_groups=[group], columns=self._wanted)
                    for at, size, batch in zip(numbers, sizes, batches, strict=True):
                        behind += size
                        yield at, (None if at < len(done) and done[at] else batch), behind / max(self.rows, 1)
                    number = numbers.stop
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self._name, error) from None


class _Csv:
    """Blocks of bytes, each as many whole lines as it holds."""

    form = "csv"

    def __init__(self, path: Path, name: str, wanted: Sequence[str], types: dict[str, pa.DataType], rows: int) -> None:
        del rows  # a block is a shard
        self._path, self._name = path, name
        dialect = sniff(path, name)
        with path.open(encoding=dialect.encoding, newline="") as file:
            for _ in range(dialect.skip_lines):
                file.readline()
            header = next(csv.reader(file, delimiter=dialect.separator), [])
        _check_columns(header, wanted, name)
        self._read = pacsv.ReadOptions(block_size=_BLOCK, encoding=dialect.encoding, skip_rows=dialect.skip_lines)
        self._parse = pacsv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True)
        missing = sorted({form for word in DEFAULT_MISSING for form in (word, word.upper(), word.capitalize(), "NaN", "N/a")})
        self._convert = pacsv.ConvertOptions(
            column_types=types, include_columns=list(dict.fromkeys(wanted)), null_values=missing, strings_can_be_null=True
        )
        self._size = path.stat().st_size

    @property
    def rows(self) -> int:
        return -1

    def shards(self, done: Sequence[bool]) -> Iterator[tuple[int, pa.RecordBatch | None, float]]:
        behind = 0
        try:
            with pacsv.open_csv(self._path, self._read, self._parse, self._convert) as reader:
                for number, batch in enumerate(reader):
                    behind += _BLOCK
                    yield number, (None if number < len(done) and done[number] else batch), min(1.0, behind / max(self._size, 1))
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self._name, error) from None


def _damaged(name: str, error: BaseException) -> InvalidData:
    text = str(error).splitlines()[0][:200]
    if match := _CELL.match(text):
        return InvalidData(f"{name}, column {int(match['column']) + 1}: {match['rest']}; mend the cell or leave it empty.")
    return InvalidData(f"{name} cannot be read: {text}")

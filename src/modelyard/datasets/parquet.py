"""Parquet files through pyarrow, which only the extra ``data`` brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modelyard.core.errors import InvalidData, Unsupported
from modelyard.datasets.builders import encode
from modelyard.datasets.table import Column, Source, Table

_MAGIC = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Whether the file says it is Parquet."""
    with path.open("rb") as file:
        return file.read(4) == _MAGIC


def read_parquet(path: Path, name: str, markers: frozenset[str], texts: frozenset[str]) -> Table:
    """The table in a Parquet file, read column by column.

    Raises InvalidData for damaged files and columns of lists or structures, Unsupported when pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise Unsupported("Reading Parquet needs pyarrow; install it with: pip install 'modelyard[data]', or give a CSV file.") from None
    try:
        with pq.ParquetFile(path) as file:
            names = [str(field.name) for field in file.schema_arrow]
            if len(set(names)) != len(names):
                twice = next(column for column in names if names.count(column) > 1)
                raise InvalidData(f"{name} has more than one column called {twice!r}; give every column its own name.")
            columns = [_column(pa, column, file.read(columns=[column]).column(0), markers, as_text=column in texts) for column in names]
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{name} is a damaged Parquet file ({str(error).splitlines()[0][:120]}); write it again.") from None
    if not columns or not len(columns[0].values):
        raise InvalidData(f"{name} has no data rows; add rows.")
    return Table(tuple(columns), Source(name, "parquet"))


def _column(pa: Any, name: str, data: Any, markers: frozenset[str], *, as_text: bool) -> Column:
    kind = data.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        data = data.cast(kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        if not as_text:
            # Cast after copying out: Arrow's own cast refuses integers beyond 2**53, which a float64 rounds.
            values = data.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
            beyond = np.flatnonzero(np.isinf(values))
            if len(beyond):
                raise InvalidData(f"Column {name!r} has an infinite number in data row {beyond[0] + 1}; replace it by null.")
            return Column(name, values)
    elif not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_date(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_time(kind)
    ):
        raise InvalidData(f"Column {name!r} holds {kind}; a table's columns must hold numbers, text, booleans or dates.")
    coded = data.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return encode(name, codes, [str(word).strip() for word in coded.dictionary.to_pylist()], markers)

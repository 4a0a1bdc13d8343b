"""CSV bodies to records, typed by the signature."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from typing import Any

from modelyard.core.errors import InvalidData, did_you_mean
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.datasets.sniff import is_missing

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?|[+-]?inf(?:inity)?", re.IGNORECASE)
_TRUTHS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


def records_from_csv(body: bytes, signature: Signature) -> list[dict[str, Any]]:
    """The rows of a CSV body with a header line; empty cells and the usual marks of missing values (``NA``, ``null``) are null.

    Cells become numbers, text or truth values as the column of the model says. Raises InvalidData that names line and column.
    """
    (_, header), *lines = csv_lines(body)
    names = _header(header, signature)
    convert = [cell_converter(signature.input(name)) for name in names]
    return [csv_record(names, convert, row, number) for number, row in lines]


def csv_lines(body: bytes) -> list[tuple[int, list[str]]]:
    """The lines of a CSV body that are not empty, with their numbers; the first is the header.

    Raises InvalidData for what is not UTF-8, not CSV or empty.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidData(f"The CSV body is not UTF-8: byte {error.start} is not part of a character; save it as UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InvalidData(f"Line {reader.line_num} of the CSV body cannot be read: {error}.") from None
    if not lines:
        raise InvalidData("The CSV body is empty; its first line must be a header with the names of the columns.")
    return lines


def _header(cells: list[str], signature: Signature) -> list[str]:
    names = [cell.strip() for cell in cells]
    known = [spec.name for spec in signature.inputs]
    for name in names:
        if name not in known:
            raise InvalidData(
                f"The CSV header has a column {name[:64]!r} that the model does not take.{did_you_mean(name, known)} "
                f"Its columns: {', '.join(known)}."
            )
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidData(f"The CSV header has the column {twice!r} more than once; give it once.")
    return names


def csv_record(names: list[str], convert: list[Callable[[str], Any]], row: list[str], number: int) -> dict[str, Any]:
    """One line as a record. Raises InvalidData that names line and column."""
    if len(row) != len(names):
        raise InvalidData(f"Line {number} of the CSV body has {len(row)} cells, but the header has {len(names)}.")
    record: dict[str, Any] = {}
    for name, conversion, cell in zip(names, convert, row, strict=True):
        try:
            record[name] = conversion(cell)
        except ValueError as error:
            raise InvalidData(f"Line {number} of the CSV body, column {name!r}: {cell[:40]!r} is not {error}.") from None
    return record


def cell_converter(spec: TensorSpec) -> Callable[[str], Any]:
    """What makes a value of a cell in the column of an input; raises ValueError that ends "is not ...". Raises InvalidData for lists."""
    if len(spec.shape) > 2 or (len(spec.shape) == 2 and spec.shape[1] != 1):
        raise InvalidData(f"Input {spec.name!r} takes a list in each record (shape {spec.wire_shape}), which CSV cannot say; send JSON.")
    if spec.datatype is Datatype.BYTES:
        return lambda cell: None if is_missing(cell) else cell
    if spec.datatype is Datatype.BOOL:
        return _truth
    return _decimal if spec.datatype.is_float else _whole


def _decimal(cell: str) -> float | None:
    if is_missing(cell):
        return None
    cell = cell.strip()
    if not _DECIMAL.fullmatch(cell):
        raise ValueError("a number")
    value = float(cell)
    if math.isinf(value) and "inf" not in cell.lower():
        raise ValueError("a number that can be represented")
    return value


def _whole(cell: str) -> int | None:
    if is_missing(cell):
        return None
    cell = cell.strip()
    if not _WHOLE.fullmatch(cell):
        raise ValueError("a whole number")
    return int(cell)


def _truth(cell: str) -> bool | None:
    if is_missing(cell):
        return None
    truth = _TRUTHS.get(cell.strip().lower())
    if truth is None:
        raise ValueError("true or false")
    return truth

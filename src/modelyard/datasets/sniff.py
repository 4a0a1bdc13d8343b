"""What kind of text file this is: encoding, separator, header. Reads the file's bytes, never its types."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from modelyard.core.errors import InvalidData

SEPARATORS = (",", ";", "\t", "|")
NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?inf(?:inity)?", re.IGNORECASE)
"""A number as a table writes it: no leading zeros (those are codes), no thousands separators."""
DEFAULT_MISSING = frozenset({"", "na", "n/a", "#n/a", "null", "nan", "none", "?", "-"})
"""Cells that mean "no value", compared without case."""

_BLOCK = 1 << 20
_SAMPLE_CHARACTERS = 1 << 18
_SAMPLE_ROWS = 500
_BINARY = {
    b"PK\x03\x04": "a ZIP or Excel file",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"SQLite format 3\0": "an SQLite database",
}
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Dialect:
    """How to take the file's text apart."""

    encoding: str
    separator: str
    skip_lines: int = 0
    """Lines before the header: 1 where Excel wrote ``sep=;`` first."""
    notes: tuple[str, ...] = ()


def is_missing(cell: str, markers: frozenset[str] = DEFAULT_MISSING) -> bool:
    """Whether a cell means "no value"."""
    return cell.strip().casefold() in markers


def detect_encoding(path: Path, name: str, wanted: str = "") -> tuple[str, str]:
    """The file's encoding and a note for its owner.

    ``wanted`` is tried alone when given. Otherwise: byte order mark, UTF-16 by its zero bytes, UTF-8, then Windows-1252 and Latin-1,
    which can be wrong and are therefore noted. Raises InvalidData for empty and binary files and for a wrong ``wanted``.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if not head.strip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe"):
        raise InvalidData(f"{name} is empty; give a table with a header row and data rows.")
    for magic, what in _BINARY.items():
        if head.startswith(magic):
            raise InvalidData(f"{name} is {what}, not a text table; save it as CSV or Parquet.")
    if wanted:
        return _wanted_encoding(path, name, wanted), ""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return _checked(path, name, encoding), ""
    if b"\0" in head:
        return _checked(path, name, _by_zeros(head, name)), "No byte order mark; read as UTF-16 because of its zero bytes."
    for encoding in ("utf-8", "cp1252"):
        if _undecodable(path, encoding) is None:
            note = "" if encoding == "utf-8" else "Not UTF-8: read as Windows-1252; set reading.encoding if letters look wrong."
            return encoding, note
    return "latin-1", "Neither UTF-8 nor Windows-1252: read as Latin-1; set reading.encoding if letters look wrong."


def _wanted_encoding(path: Path, name: str, wanted: str) -> str:
    try:
        "a".encode(wanted)
        codecs.getincrementaldecoder(wanted)
    except (LookupError, UnicodeError, ValueError):
        raise InvalidData(
            f"There is no text encoding {wanted!r}; use utf-8, utf-16, cp1252 or latin-1, or leave reading.encoding out."
        ) from None
    return _checked(path, name, wanted)


def _checked(path: Path, name: str, encoding: str) -> str:
    reason = _undecodable(path, encoding)
    if reason is not None:
        raise InvalidData(f"{name} is not {encoding} text ({reason}); save it as UTF-8, or set reading.encoding to what it is.")
    return encoding


def _undecodable(path: Path, encoding: str) -> str | None:
    """Why the file is not text of this encoding; None when it is."""
    decoder = codecs.getincrementaldecoder(encoding)()
    at = 0
    with path.open("rb") as file:
        try:
            while block := file.read(_BLOCK):
                decoder.decode(block)
                at += len(block)
            decoder.decode(b"", final=True)
        except UnicodeError as error:
            return f"near byte {at + getattr(error, 'start', 0)}: {getattr(error, 'reason', error)}"
    return None


def _by_zeros(head: bytes, name: str) -> str:
    even, odd = head[0::2].count(0), head[1::2].count(0)
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > 0.3 * len(head) / 2 and others < 0.05 * len(head) / 2:
            return encoding
    raise InvalidData(f"{name} holds zero bytes, so it is no text table; save it as CSV (UTF-8) or Parquet.")


def sniff(path: Path, name: str, encoding: str = "", separator: str = "") -> Dialect:
    """Finds encoding and separator; arguments that are given are believed. Raises InvalidData."""
    found, note = detect_encoding(path, name, encoding)
    with path.open(encoding=found, newline="") as file:
        sample = file.read(_SAMPLE_CHARACTERS)
        whole = not file.read(1)
    skip = 0
    told = re.match(r"sep=(.)\r?\n", sample, re.IGNORECASE)
    if told:
        separator, skip, sample = separator or told.group(1), 1, sample[told.end() :]
    if not separator:
        separator = _best_separator(sample, whole)
    return Dialect(found, separator, skip, (note,) if note else ())


def _best_separator(sample: str, whole: bool) -> str:
    """The separator under which most rows have equally many cells, more cells winning; ``,`` when none splits anything."""
    best, best_score = ",", (0.0, 0)
    for separator in SEPARATORS:
        widths = Counter(len(row) for row in sample_rows(sample, separator, whole=whole))
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        if width < 2:
            continue
        score = (round(count / widths.total(), 1), width)
        if score > best_score:
            best, best_score = separator, score
    return best


def sample_rows(sample: str, separator: str, *, whole: bool) -> list[list[str]]:
    """The sample's non-empty rows; the last one is left out when the sample may have cut it."""
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in islice(csv.reader(io.StringIO(sample, newline=""), delimiter=separator), _SAMPLE_ROWS) if any(row))
    except csv.Error:
        return rows
    return rows if whole or len(rows) < 2 else rows[:-1]


def looks_like_header(first: Sequence[str], rest: Sequence[Sequence[str]], markers: frozenset[str] = DEFAULT_MISSING) -> bool:
    """Whether the first row names the columns.

    It does not when it has a number above each column of numbers, or when it is one of the data rows itself with a number in it.
    """
    numeric = [at for at in range(len(first)) if _mostly_numbers([row[at] for row in rest if len(row) > at], markers)]
    if not numeric:
        return not any(NUMBER.fullmatch(cell.strip().replace(",", ".")) for cell in first) or not rest
    return not all(NUMBER.fullmatch(first[at].strip().replace(",", ".")) or is_missing(first[at], markers) for at in numeric)


def _mostly_numbers(cells: list[str], markers: frozenset[str]) -> bool:
    present = [cell.strip().replace(",", ".") for cell in cells if not is_missing(cell, markers)]
    return bool(present) and sum(NUMBER.fullmatch(cell) is not None for cell in present) >= 0.9 * len(present)

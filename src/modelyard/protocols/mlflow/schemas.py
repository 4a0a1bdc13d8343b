"""The forms of a body: a data frame, as two of MLflow's four JSON keys and CSV spell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.protocols.json_tensors import shorten

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
PARAMS = "params"
_SPLIT = ("columns", "data", "index")


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows under column names; without names, columns are meant by their places."""

    rows: list[list[Any]]
    names: list[str] | None


def frame_from_split(document: Any) -> Frame:
    """``{"columns": [...], "data": [[...]]}``; ``index`` is pandas' own and means nothing here.

    Raises InvalidRequest that names what is wrong.
    """
    if type(document) is not dict:
        raise InvalidRequest(f"'dataframe_split' must be an object with 'columns' and 'data', but {shorten(document)} came.")
    unknown = sorted(document.keys() - set(_SPLIT))
    if unknown:
        raise InvalidRequest(f"'dataframe_split' has an unknown key {unknown[0][:64]!r}.{did_you_mean(unknown[0], _SPLIT)}")
    names, rows = document.get("columns"), document.get("data")
    if type(rows) is not list:
        raise InvalidRequest(f"'dataframe_split' needs 'data', a list of rows, but {shorten(rows)} came.")
    if names is not None and not (type(names) is list and all(type(name) in (str, int) for name in names)):
        raise InvalidRequest(f"'columns' of 'dataframe_split' must be a list of names, but {shorten(names)} came.")
    # pandas numbers the columns of a frame that was given no names.
    if names is None or all(type(name) is int for name in names):
        names = None if names is None or names == list(range(len(names))) else names
    named = None if names is None else [str(name) for name in names]
    width = len(named) if named is not None else len(rows[0]) if rows and type(rows[0]) is list else 0
    for index, row in enumerate(rows):
        if type(row) is not list:
            raise InvalidRequest(f"Row {index} of 'dataframe_split' must be a list, but {shorten(row)} came.")
        if len(row) != width:
            raise InvalidRequest(f"Row {index} of 'dataframe_split' has {len(row)} values, but there are {width} columns.")
    return Frame(rows, _unique(named))


def frame_from_records(document: Any) -> Frame:
    """``[{"column": value, ...}, ...]``; a column that some record lacks is null there, as pandas has it.

    Raises InvalidRequest that names the record.
    """
    if type(document) is not list:
        raise InvalidRequest(f"'dataframe_records' must be a list of objects, but {shorten(document)} came.")
    names: dict[str, None] = {}
    for index, record in enumerate(document):
        if type(record) is not dict:
            raise InvalidRequest(f"Record {index} of 'dataframe_records' must be an object, but {shorten(record)} came.")
        names.update(dict.fromkeys(record))
    return Frame([[record.get(name) for name in names] for record in document], list(names))


def _unique(names: list[str] | None) -> list[str] | None:
    if names is not None and len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"'columns' of 'dataframe_split' names {twice[:64]!r} more than once; give each column once.")
    return names

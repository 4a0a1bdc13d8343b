"""What each column means: a number, a category, free text, a date, an identifier; and which of them can be features."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec
import numpy as np

from modelyard.core.errors import InvalidData, did_you_mean
from modelyard.datasets.profile import ColumnProfile
from modelyard.datasets.table import Column, Table


class Kind(StrEnum):
    """What a column means. A model takes numbers as FP32 and the text kinds as BYTES."""

    NUMBER = "number"
    CATEGORY = "category"  # text out of a set
    BOOLEAN = "boolean"  # two words for yes and no, kept as they are spelled: a category
    TEXT = "text"  # free text or too many distinct words: no feature
    DATE = "date"  # dates and times, kept as text: no feature, because a model's graph could not read a malformed one safely
    IDENTIFIER = "identifier"  # names the row and tells nothing about it: no feature


USABLE = frozenset({Kind.NUMBER, Kind.CATEGORY, Kind.BOOLEAN})
"""The kinds that can be features."""

_BOOLEANS = (
    frozenset({"true", "false"}),
    frozenset({"yes", "no"}),
    frozenset({"t", "f"}),
    frozenset({"y", "n"}),
    frozenset({"on", "off"}),
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?|\d{1,2}[./]\d{1,2}[./]\d{4}")
_IDENTIFIER_NAME = re.compile(r"(?:^|[_\W])(?:id|uuid|guid|key|index|rowid|row_?number)$|[a-z]I[Dd]$|^column_1$", re.IGNORECASE)
_SURE_FROM = 20
"""Rows below which all-distinct values say nothing."""


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column's meaning. ``reason`` says why it is no feature, where it is none."""

    name: str
    kind: Kind
    missing: int = 0
    distinct: int = 0
    integers: bool = False
    reason: str = ""
    note: str = ""

    @property
    def usable(self) -> bool:
        return not self.reason


def infer_schema(table: Table, profiles: Mapping[str, ColumnProfile], kinds: Mapping[str, Kind] | None = None) -> dict[str, Field]:
    """Every column's meaning by its name. ``kinds`` are the owner's own words for some, and win.

    Raises InvalidData when an own word names no column or does not fit what the column holds.
    """
    kinds = kinds or {}
    for name in kinds:
        if name not in profiles:
            raise InvalidData(f"types names {name!r}, which is no column.{did_you_mean(name, profiles)} Columns: {', '.join(profiles)}.")
    return {column.name: _field(column, profiles[column.name], kinds.get(column.name)) for column in table}


def _field(column: Column, profile: ColumnProfile, wanted: Kind | None) -> Field:
    if wanted is Kind.NUMBER and not column.is_number:
        note = f" {column.note}" if column.note else ""
        raise InvalidData(
            f"types says that column {column.name!r} is a number, but it holds text.{note} Mend the cells or call it a category."
        )
    kind = wanted or _kind(column, profile)
    return Field(
        name=column.name,
        kind=kind,
        missing=profile.missing,
        distinct=profile.distinct,
        integers=profile.integers,
        reason=_reason(kind, profile, chosen=wanted is not None),
        note=profile.note,
    )


def _kind(column: Column, profile: ColumnProfile) -> Kind:
    if column.categories is None:
        return Kind.IDENTIFIER if _numbers_rows(column, profile) else Kind.NUMBER
    present, distinct = profile.present, profile.distinct
    if not present:
        return Kind.TEXT
    words = column.categories
    if frozenset(word.casefold() for word in words) in _BOOLEANS:
        return Kind.BOOLEAN
    if all(_DATE.fullmatch(word) for word in words):
        return Kind.DATE
    if distinct == present >= _SURE_FROM:
        short = (profile.mean_length or 0) <= 40 and not any(" " in word for word in words[:100])
        return Kind.IDENTIFIER if short else Kind.TEXT
    if (distinct > _SURE_FROM and distinct > present / 2) or (profile.mean_length or 0) > 60:
        return Kind.TEXT
    return Kind.CATEGORY


def _numbers_rows(column: Column, profile: ColumnProfile) -> bool:
    """Whether whole numbers only tell rows apart: one each, and called so or counting up without gaps."""
    if not profile.integers or profile.missing or profile.distinct != profile.rows or profile.rows < _SURE_FROM:
        return False
    steps = np.diff(column.values)
    return bool(_IDENTIFIER_NAME.search(column.name)) or bool(np.all(steps == 1))


def _reason(kind: Kind, profile: ColumnProfile, *, chosen: bool) -> str:
    if not profile.present:
        return "has no value in any row"
    if profile.distinct == 1 and not profile.missing:
        return f"is {profile.top[0][0] if profile.top else profile.min} in every row"
    if kind in USABLE:
        return ""
    counts = f"{profile.distinct:,} distinct values in {profile.present:,} rows"
    found = "" if chosen else f"; if it is a category, say so in types: {{{profile.name}: category}}"
    reasons = {
        Kind.TEXT: f"is free text ({counts}){found}",
        Kind.DATE: "is a date; add columns with what matters of it (year, month, weekday, age) as numbers",
        Kind.IDENTIFIER: f"names the row ({counts})",
    }
    return reasons[kind]

"""The part of a version's page that tells of its data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from modelyard.evaluation.page_parts import Section, cell, section, table

_MOST_COLUMNS = 200
_NAMES = ("name", "kind", "role", "missing", "distinct", "outliers", "min", "max", "mean", "std", "flat", "shift", "season", "reason")
_ALWAYS = 5
"""Names of columns that are shown even where nobody has a value."""


def profile_section(folder: Path | None) -> Section | None:
    """Of ``profile.json`` in the folder: facts before and after preparation, the sides of the split, columns, and what to know of them."""
    path = folder / "profile.json" if folder is not None else None
    if path is None or not path.is_file():
        return None
    found: Any = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        return None
    parts = [_notes(found.get("notes")), _facts(found.get("facts")), _splits(found.get("splits")), _columns(found.get("columns"))]
    return section("Data", "".join(parts)) if any(parts) else None


def _notes(notes: Any) -> str:
    lines = "".join(f"<li>{escape(str(note))}</li>" for note in _listed(notes))
    return f"<ul>{lines}</ul>" if lines else ""


def _facts(facts: Any) -> str:
    rows = [(cell(fact.get("what")), cell(fact.get("before")), cell(fact.get("after"))) for fact in _mappings(facts)]
    return table(("", "as it came", "as it is learned from"), rows) if rows else ""


def _splits(splits: Any) -> str:
    found = _mappings(splits)
    if not found:
        return ""
    names = list(dict.fromkeys(name for row in found for name in row if name != "classes"))
    classes = list(dict.fromkeys(name for row in found for name in row.get("classes") or {}))[:_MOST_COLUMNS]
    rows = [
        [*(cell(row.get(name)).replace("_", " ") for name in names), *(cell((row.get("classes") or {}).get(name)) for name in classes)]
        for row in found
    ]
    return table([*names, *classes], rows)


def _columns(columns: Any) -> str:
    found = _mappings(columns)[:_MOST_COLUMNS]
    names = [name for at, name in enumerate(_NAMES) if at < _ALWAYS or any(column.get(name) not in (None, "") for column in found)]
    return table(names, [[cell(column.get(name)) for name in names] for column in found]) if found else ""


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in _listed(value) if isinstance(entry, dict)]

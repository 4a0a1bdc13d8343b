"""What is in a series, before it is prepared and as it is learned from, and whether what is judged lies in what was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.datasets.facts import Fact, balance, histogram, outliers, spread
from modelyard.datasets.series import Series
from modelyard.datasets.table import Rows

Numbers = NDArray[np.float64]
_DRAWN_COLUMNS = 4
_DRAWN_ROWS = 1_000
_SHIFTED = 1.0
"""Deviations between the means of two sides from which on people are told."""
_FLAT = 0.2


@dataclass(frozen=True)
class SeriesFacts:
    """What a profile is made of."""

    series: Series
    columns: Sequence[str]
    roles: Sequence[str]
    """``target``, ``covariate`` or ``known``, for each column."""
    values: Numbers
    """``[rows, columns]``, sorted."""
    parts: Mapping[str, Rows]
    """``train``, ``validation`` and ``held_out``: windows by their first row."""
    left_out: int
    window: int
    ahead: int
    season: int
    scaled: Mapping[str, Numbers]
    """For each part what the network is given, as flat numbers."""
    labels: NDArray[np.intp] | None = None
    classes: tuple[str, ...] = ()


def profile_series(found: SeriesFacts) -> dict[str, Any]:
    """``facts`` before and after preparation, ``columns``, ``splits`` side by side, ``notes`` for people, and ``panels`` to draw."""
    series, values = found.series, found.values
    rows = {part: _rows(found, part) for part in found.parts}
    used = np.unique(np.concatenate(list(rows.values())))
    both = np.intersect1d(_judged(found, "held_out"), np.union1d(rows["train"], rows["validation"]))
    scaled = np.concatenate(list(found.scaled.values()))
    facts = [
        Fact("rows", len(series), len(used)),
        Fact("series", len(series.names), len(np.unique(series.group[used]))),
        Fact("stretches without a gap", int(series.segment[-1]) + 1, len(np.unique(series.segment[used]))),
        Fact("gaps in time", series.gaps, 0),
        Fact("missing values", int(np.isnan(values).sum()), int(np.isnan(scaled).sum())),
        Fact("unusual values", sum(outliers(column) for column in values.T), outliers(scaled)),
        Fact("windows", None, sum(len(starts) for starts in found.parts.values())),
        Fact("windows left out between the sides", None, found.left_out),
        Fact("rows that are judged and were learned from", None, len(both)),
        Fact("what the network sees (5 %, median, 95 %)", None, spread(scaled[~np.isnan(scaled)])),
        Fact("largest of it", None, round(float(np.nanmax(np.abs(scaled))), 3) if len(scaled) else None),
    ]
    columns = [_column(found, at, rows) for at in range(len(found.columns))]
    splits, notes = _splits(found, rows)
    notes += [
        f"{column['name']!r} is {abs(column['shift']):.1f} deviations {'higher' if column['shift'] > 0 else 'lower'} in what is held out "
        "than in what is learned from: the past may say little about it."
        for column in columns
        if column["shift"] is not None and abs(column["shift"]) > _SHIFTED
    ]
    notes += [f"{column['name']!r} stays the same for {column['flat']} rows in a row." for column in columns if column["standing"] > _FLAT]
    panels = [_lines(found, at) for at in range(min(_DRAWN_COLUMNS, len(found.columns)))]
    panels.append(histogram("what the network sees", found.scaled))
    if found.classes:
        panels.append({"kind": "balance", "title": "classes", "parts": {row["part"]: row["classes"] for row in splits}})
    return {
        "facts": [fact.to_json() for fact in facts],
        "columns": [{name: value for name, value in column.items() if name != "standing"} for column in columns],
        "splits": splits,
        "notes": notes,
        "panels": panels,
    }


def _rows(found: SeriesFacts, part: str) -> Rows:
    """All rows in a part's windows, what follows them included."""
    return np.unique((found.parts[part][:, None] + np.arange(found.window + found.ahead)).ravel())


def _judged(found: SeriesFacts, part: str) -> Rows:
    """The rows that a part's windows are judged by: what follows them, or where they are labelled the windows themselves."""
    span = np.arange(found.window, found.window + found.ahead) if found.ahead else np.arange(found.window)
    return np.unique((found.parts[part][:, None] + span).ravel())


def _column(found: SeriesFacts, at: int, rows: Mapping[str, Rows]) -> dict[str, Any]:
    values = found.values[:, at]
    known = values[~np.isnan(values)]
    learned, held = (values[rows[part]] for part in ("train", "held_out"))
    deviation = float(np.nanstd(learned)) if (~np.isnan(learned)).any() else 0.0
    shift = float(np.nanmean(held) - np.nanmean(learned)) / deviation if deviation and (~np.isnan(held)).any() else None
    flat = _longest_run(values, found.series.segment)
    return {
        "name": found.columns[at],
        "kind": "number",
        "role": found.roles[at],
        "missing": int(np.isnan(values).sum()),
        "distinct": len(np.unique(known)),
        "outliers": outliers(values),
        "min": float(known.min()),
        "max": float(known.max()),
        "mean": float(known.mean()),
        "std": float(known.std()),
        "flat": flat,
        "standing": flat / max(1, len(values)) if len(np.unique(known)) > 2 else 0.0,
        "shift": None if shift is None else round(shift, 3),
        "season": _likeness(values, found.series.segment, found.season),
    }


def _longest_run(values: Numbers, segment: NDArray[np.intp]) -> int:
    """Rows in a row with one value."""
    if not len(values):
        return 0
    breaks = np.flatnonzero((values[1:] != values[:-1]) | (segment[1:] != segment[:-1])) + 1
    return int(np.diff(np.concatenate([[0], breaks, [len(values)]])).max())


def _likeness(values: Numbers, segment: NDArray[np.intp], season: int) -> float | None:
    """The correlation of rows with those a season before."""
    if season < 1 or season >= len(values):
        return None
    now, then = values[season:], values[:-season]
    usable = (segment[season:] == segment[:-season]) & ~np.isnan(now) & ~np.isnan(then)
    now, then = now[usable], then[usable]
    if len(now) < 3 or not now.std() or not then.std():
        return None
    return round(float(np.corrcoef(now, then)[0, 1]), 3)


def _splits(found: SeriesFacts, rows: Mapping[str, Rows]) -> tuple[list[dict[str, Any]], list[str]]:
    notes: list[str] = []
    table: list[dict[str, Any]] = [{"part": part, "rows": len(rows[part])} for part in found.parts]
    if found.labels is not None and found.classes:
        ends = {part: starts + found.window - 1 for part, starts in found.parts.items()}
        table, notes = balance(found.labels, found.classes, ends)
    for row in table:
        mine, position = rows[row["part"]], found.series.position
        row["windows"] = len(found.parts[row["part"]])
        row["series"] = len(np.unique(found.series.group[mine]))
        row["from"], row["to"] = (found.series.times[int(mine[pick(position[mine])])] for pick in (np.argmin, np.argmax))
    return table, notes


def _lines(found: SeriesFacts, at: int) -> dict[str, Any]:
    """A column of the longest series over its rows, and which part judges where."""
    group = int(np.bincount(found.series.group).argmax())
    mine = np.flatnonzero(found.series.group == group)
    step = max(1, len(mine) // _DRAWN_ROWS)
    spans = {}
    for part in found.parts:
        inside = np.flatnonzero(np.isin(mine, _judged(found, part)))
        if len(inside):
            spans[part] = [int(inside[0]), int(inside[-1])]
    values = [None if np.isnan(value) else float(value) for value in found.values[mine[::step], at]]
    name = found.series.names[group]
    return {
        "kind": "line",
        "title": f"{found.columns[at]} of {name}" if name else found.columns[at],
        "at": list(range(0, len(mine), step)),
        "values": values,
        "spans": spans,
    }

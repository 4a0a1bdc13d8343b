"""A version and what was made of it: one table, and a picture as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from modelyard.core.models import Version

_WIDTH, _ROW, _TITLE, _PANEL = 860, 26, 190, 210
_BAR, _BEST, _QUIET = "#2f6f9f", "#c8553d", "#b3bac2"


class Member(NamedTuple):
    """One line."""

    title: str
    made_by: str
    size_bytes: int
    p50_us: float
    quality: float | None
    metric: str
    verdict: str
    """``kept``, ``flagged`` or, for the first, nothing."""


def family_of(first: Version, versions: Sequence[Version]) -> list[Version]:
    """The version and all that descends from it, in the order in which they were made."""
    known = {first.id}
    found = [first]
    for version in sorted(versions, key=lambda version: version.number):
        if version.id not in known and version.lineage.parent_version_id in known:
            known.add(version.id)
            found.append(version)
    return found


def members(family: Sequence[Version]) -> list[Member]:
    """Times are those of the children's own measurements beside their parent; a version that no pass made has its trial's."""
    return [_member(version, first=at == 0) for at, version in enumerate(family)]


def picture(title: str, rows: Sequence[Member]) -> str:
    """Three bars a version: size, time of a call with one row, quality."""
    height = 70 + _ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/><text x="12" y="24" font-size="15">{escape(title)}</text>',
    ]
    metric = next((row.metric for row in rows if row.metric), "quality")
    panels = [("size, kB", [row.size_bytes / 1000 for row in rows]), ("one row, µs", [row.p50_us for row in rows])]
    panels.append((metric.replace("_", " "), [row.quality or 0.0 for row in rows]))
    for number, (heading, values) in enumerate(panels):
        left, most = _TITLE + number * (_PANEL + 10), max([*values, 1e-12])
        parts.append(f'<text x="{left}" y="46" fill="#5b6773">{escape(heading)}</text>')
        for at, (row, value) in enumerate(zip(rows, values, strict=True)):
            y, colour = 56 + _ROW * at, _BAR if not row.verdict else _BEST if row.verdict == "kept" else _QUIET
            width = max(1.0, (_PANEL - 60) * value / most)
            parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{_ROW - 8}" fill="{colour}"/>')
            parts.append(f'<text x="{left + width + 5:.1f}" y="{y + 13}">{value:.4g}</text>')
    for at, row in enumerate(rows):
        parts.append(f'<text x="12" y="{69 + _ROW * at}">{escape(row.title)} {escape(row.made_by)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _member(version: Version, *, first: bool) -> Member:
    report = version.report.get("optimization") or {}
    quality = report.get("quality")
    metric = quality["metric"] if quality else str(version.report.get("metric", ""))
    value = quality["child"]["value"] if quality else version.metrics.get(metric)
    time = report["child"]["batch_1"]["p50_us"] if report else version.profile.single_us
    verdict = "" if first or not report else "kept" if report["verdict"]["kept"] else "flagged"
    made_by = "" if first else str(version.lineage.detail.get("pass", ""))
    return Member(version.reference, made_by, version.artifact.size, time, value, metric, verdict)

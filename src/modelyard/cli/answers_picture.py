"""What the answers of a file say together: in words, and as a picture in SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _ROW, _LEFT, _RIGHT = 720, 22, 190, 110
_HEADING = 34
_BAR, _QUIET = "#2f6f9f", "#b3bac2"
_LABEL_LENGTH = 26


class _Bar(NamedTuple):
    title: str
    rows: int
    colour: str


def in_words(name: str, found: Mapping[str, Any]) -> str:
    """One line about an output, the most frequent labels first."""
    if "counts" in found:
        told = [f"{label or '(empty)'} {count:,}" for label, count in found["counts"].items()]
        return f"{name}: {', '.join(told)}" + (f", others {found['others']:,}" if found["others"] else "")
    low, high = found["spread"]["ends"]
    return f"{name}: {low:.4g} to {high:.4g}, {found['mean']:.4g} in the mean"


def picture(title: str, answers: Mapping[str, Any]) -> str:
    """A bar for each label or range of numbers, as long as it has rows."""
    parts: list[str] = []
    y = _HEADING
    for name, found in answers.items():
        bars = _bars(found)
        total, most = sum(bar.rows for bar in bars) or 1, max((bar.rows for bar in bars), default=0) or 1
        parts.append(f'<text x="12" y="{y + 14}" fill="#5b6773">{escape(name)}</text>')
        y += _ROW
        for bar in bars:
            width = (_WIDTH - _LEFT - _RIGHT) * bar.rows / most
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(_short(bar.title))}</text>')
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_ROW - 5}" fill="{bar.colour}"/>')
            parts.append(f'<text x="{_LEFT + width + 6:.1f}" y="{y + 13}">{bar.rows:,} ({bar.rows / total:.1%})</text>')
            y += _ROW
        y += 8
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 8}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{y + 8}" fill="white"/><text x="12" y="22" font-size="15">{escape(title)}</text>',
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def _bars(found: Mapping[str, Any]) -> list[_Bar]:
    if "counts" in found:
        bars = [_Bar(label or "(empty)", count, _BAR) for label, count in found["counts"].items()]
        return bars + ([_Bar("others", found["others"], _QUIET)] if found["others"] else [])
    (low, high), counts = found["spread"]["ends"], found["spread"]["counts"]
    if low == high:
        return [_Bar(f"{low:.4g}", sum(counts), _BAR)]
    step = (high - low) / len(counts)
    return [_Bar(f"{low + at * step:.4g} to {low + (at + 1) * step:.4g}", rows, _BAR) for at, rows in enumerate(counts)]


def _short(text: str) -> str:
    """Without its middle where it is long."""
    half = _LABEL_LENGTH // 2
    return text if len(text) <= _LABEL_LENGTH else f"{text[: half - 1]}…{text[-half:]}"

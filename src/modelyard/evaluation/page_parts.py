"""What sections of a page are made of; every value is escaped here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_NUMBER = re.compile(r"[-+]?[\d,.]+(e[-+]?\d+)?( ?(%|µs|ms|s))?")


@dataclass(frozen=True)
class Section:
    title: str
    anchor: str
    html: str


def section(title: str, content: str) -> Section:
    """``content`` is HTML."""
    anchor = re.sub(r"[^a-z]+", "-", title.lower()).strip("-")
    return Section(title, anchor, f'<section id="{anchor}"><h2>{escape(title)}</h2>{content}</section>')


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Numbers stand to the right, and so do headings of columns with nothing else."""
    lines = [[str(value) for value in row] for row in rows]
    columns = [[line[at] for line in lines if line[at]] for at in range(len(headings))]
    numeric = [bool(column) and all(map(_NUMBER.fullmatch, column)) for column in columns]
    head = "".join(_entry("th", str(name), right=right) for name, right in zip(headings, numeric, strict=True))
    body = "\n".join(f"<tr>{''.join(_entry('td', text, right=bool(_NUMBER.fullmatch(text))) for text in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, a line each."""
    return (
        "<table><tbody>"
        + "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
        + "</tbody></table>"
    )


def number(value: Any) -> str:
    """As people read it; nothing for nothing."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return ""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def cell(value: Any) -> str:
    """A value in a table."""
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


def _entry(tag: str, text: str, *, right: bool) -> str:
    kind = ' class="n"' if right else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"

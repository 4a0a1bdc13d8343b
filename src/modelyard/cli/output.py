"""What commands print: results on standard output, notes and progress on standard error.

On a terminal results are tables; in a pipe they are plain aligned lines; with ``--json`` they are one JSON document and nothing else.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else there.")]
Row = Sequence[object]
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_SIZE = re.compile(r"[\d.]+ (B|[KMGT]iB)\b")


def examples(*lines: str) -> str:
    """An epilog for a command's help; the mark keeps lines as they are."""
    return "\n".join(["Example:", "", "\b", *(f"  {line}" for line in lines)])


def print_json(document: Any) -> None:
    """The one document of ``--json``."""
    text = msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode()
    if (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8":
        text = _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Something a person should know that is not the result."""
    print(text, file=sys.stderr)


def print_table(headings: Sequence[str], rows: Sequence[Row], *, empty: str = "") -> None:
    """Rows under headings; ``empty`` is a note for when there are none."""
    if not rows:
        note(empty or "There is nothing to show.")
        return
    texts = [[_cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        table = Table(header_style="bold", show_edge=False, pad_edge=False)
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in texts:
            # A cell's own square brackets are text, not markup.
            table.add_row(*(cell.replace("[", r"\[") for cell in row))
        Console().print(table)
        return
    widths = [max(len(line[index]) for line in [list(headings), *texts]) for index in range(len(headings))]
    for line in [[heading.upper() for heading in headings], *texts]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Names and values, one a line; empty values are left out."""
    shown = [(name, _cell(value)) for name, value in fields if value not in (None, "", (), [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name + ':':<{width + 1}} {value}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return " ".join(str(value).split())


def when(time_ns: int) -> str:
    """A time for people, in their zone; empty for 0."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).astimezone().strftime("%Y-%m-%d %H:%M") if time_ns else ""


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def shortened(text: str, length: int = 60) -> str:
    """As much of a text as fits into a table's cell."""
    plain = " ".join(text.split())
    return plain if len(plain) <= length else f"{plain[: length - 1].rstrip()}…"


def metrics_text(metrics: dict[str, float]) -> str:
    """The first few metrics in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:3])


OnStep = Callable[[str, float], None]
"""Called with what is being done and how far it is, between 0 and 1."""


@contextmanager
def progress(title: str) -> Iterator[OnStep]:
    """Shows how far something is: a bar on a terminal, otherwise a line whenever the stage changes or a while has passed."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=1.0)
            yield lambda text, fraction: bar.update(task, description=text.replace("[", r"\[") or title, completed=fraction)
        return
    yield _Lines().step


class _Lines:
    """Progress for a pipe or a log: few lines. A count of bytes that grows is no new stage."""

    EVERY = 10.0

    def __init__(self) -> None:
        self._text, self._printed = "", 0.0

    def step(self, text: str, fraction: float) -> None:
        now, stage = time.monotonic(), _SIZE.sub("", text)
        if text and (stage != self._text or now - self._printed >= self.EVERY):
            self._text, self._printed = stage, now
            note(f"{fraction:4.0%} {text}")

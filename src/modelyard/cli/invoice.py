"""Bills: what a month of the workspace costs."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table
from modelyard.core.errors import InvalidRequest
from modelyard.core.invoices import UNITS, Invoice, InvoiceLine
from modelyard.core.limits import money_text

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Invoices."""


@app.command(
    "invoice",
    epilog=examples("modelyard invoice --month 2026-11", "modelyard invoice --month 2026-11 --format html --out november.html"),
)
def invoice(
    month: Annotated[str, typer.Option(help="Which month (UTC), like 2026-11; this one when left out.")] = "",
    kind: Annotated[str, typer.Option("--format", help="csv or html, in place of a table.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write it to this file; its ending says the format, if nothing else does.")] = None,
    as_json: Json = False,
) -> None:
    """Show what the workspace owes for a month, up to now while it is not over."""
    month = month or time.strftime("%Y-%m", time.gmtime())
    kind = kind or (out.suffix.lower().removeprefix(".") if out is not None else "")
    if out is not None or kind:
        if kind not in {"csv", "html"}:
            raise InvalidRequest(f"An invoice is written as csv or html, not as {kind!r}; use --format csv or --format html.")
        _write(month, kind, out)
        return
    with connected() as client:
        made = client.platform.invoice(month)
    if as_json:
        print_json(made)
        return
    rows = [_row(line) for line in made.lines]
    headings = ["deployment", "item", "from", "until", "quantity", "rate", f"amount ({made.currency})"]
    print_table(headings, rows, empty="Nothing that has a price was used.")
    print(f"Total for {made.month}{'' if made.complete else ' so far'}: {_total(made)}")
    if made.unpriced_calls:
        print(f"{made.unpriced_calls} answered calls had no price.")


def _write(month: str, kind: str, out: Path | None) -> None:
    with connected() as client:
        if out is None:
            client.platform.export_invoice(sys.stdout.buffer, month, format=kind)
            sys.stdout.buffer.flush()
            return
        part = out.with_name(f".{out.name}.part")
        try:
            with part.open("wb") as file:
                client.platform.export_invoice(file, month, format=kind)
            part.replace(out)
        except OSError as error:
            raise InvalidRequest(f"{str(out)!r} cannot be written: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
    print(f"Wrote {out}.")


def _total(made: Invoice) -> str:
    return f"{money_text(made.total)} {made.currency}".strip()


def _row(line: InvoiceLine) -> tuple[object, ...]:
    item = UNITS[line.item] + (f" of {line.version}" if line.version else "")
    quantity = money_text(line.quantity) if line.item == "compute_second" else line.quantity
    return line.deployment, item, _when(line.from_ns), _when(line.until_ns), quantity, money_text(line.rate), money_text(line.amount)


def _when(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%MZ")

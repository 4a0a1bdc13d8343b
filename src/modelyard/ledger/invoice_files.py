"""Invoices as files: CSV for bookkeeping, HTML to print."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from itertools import groupby
from operator import attrgetter

from modelyard.core.invoices import UNITS, Invoice, InvoiceLine
from modelyard.core.limits import MICRO, money_text

COLUMNS = ("workspace", "month", "deployment", "version", "item", "from", "until", "quantity", "unit", "rate", "per", "amount", "currency")
_PER = {"tokens_in": "1000 tokens", "tokens_out": "1000 tokens", "tokens_cached": "1000 tokens", "compute_second": "second"}
_NOTE = "Calls that were refused or failed cost nothing. A line for each rate, and for each time in which it was in force."
_STYLE = """
:root { color-scheme: light; }
body { font: 11pt/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; }
header { display: flex; justify-content: space-between; align-items: flex-end; border-bottom: 2px solid #1a1a1a; padding-bottom: .8rem; }
h1 { font-size: 1.9rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: auto auto; gap: .1rem 1rem; margin: 0; text-align: right; }
dt { color: #595959; } dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid #d5d5d5; font-variant-numeric: tabular-nums; }
th { color: #595959; font-weight: 600; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
tfoot td { font-weight: 600; border-bottom: 0; }
tfoot td:last-child { text-align: right; }
.total { display: flex; justify-content: space-between; border-top: 2px solid #1a1a1a; margin-top: 2rem; padding-top: .6rem;
         font-size: 1.35rem; font-weight: 700; }
.note { color: #595959; }
.draft { background: #fff4d6; border: 1px solid #d9a400; padding: .5rem .8rem; margin-top: 1rem; }
@page { margin: 18mm; }
@media print { body { max-width: none; margin: 0; padding: 0; } tr, .total { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def invoice_csv(invoice: Invoice) -> bytes:
    """A line of headings, the lines, and the total as the last one."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for line in invoice.lines:
        unit, quantity = UNITS[line.item], quantity_text(line)
        where = (invoice.workspace, invoice.month, line.deployment, line.version)
        when = (_day_time(line.from_ns), _day_time(line.until_ns))
        money = (money_text(line.rate), _PER.get(line.item, "1"), money_text(line.amount), invoice.currency)
        writer.writerow([*where, line.item, *when, quantity, unit, *money])
    blank = [""] * (len(COLUMNS) - 5)
    writer.writerow([invoice.workspace, invoice.month, "total", *blank, money_text(invoice.total), invoice.currency])
    return text.getvalue().encode()


def invoice_html(invoice: Invoice) -> bytes:
    """One page that needs nothing from elsewhere."""
    parts = "".join(_deployment(name, list(lines), invoice.currency) for name, lines in groupby(invoice.lines, attrgetter("deployment")))
    draft = "" if invoice.complete else '<p class="draft">The month is not over: this is what it comes to so far.</p>'
    facts = {
        "Workspace": invoice.workspace,
        "Period (UTC)": f"{_day(invoice.from_ns)} to {_day(invoice.until_ns - 1)}",
        "Made": f"{_day_time(invoice.issued_ns)} UTC",
        "Answered calls": f"{invoice.answered_calls:,}",
    }
    told = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    free = f"<p>{invoice.unpriced_calls:,} answered calls had no price.</p>" if invoice.unpriced_calls else ""
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Invoice {escape(invoice.workspace)} {invoice.month}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>Invoice {invoice.month}</h1><dl>{told}</dl></header>
{draft}
{parts or "<p>Nothing that has a price was used.</p>"}
<div class="total"><span>Total</span><span>{_money(invoice.total, invoice.currency)}</span></div>
<div class="note">{free}<p>{_NOTE}</p></div>
</body>
</html>
"""
    return page.encode()


def quantity_text(line: InvoiceLine) -> str:
    """How much, in the unit that is shown: seconds for computing."""
    return money_text(line.quantity) if line.item == "compute_second" else str(line.quantity)


def _deployment(name: str, lines: list[InvoiceLine], currency: str) -> str:
    rows = "".join(_row(line, currency) for line in lines)
    amount = _money(sum(line.amount for line in lines), currency)
    head = "".join(f"<th>{column}</th>" for column in ("Item", "In force (UTC)", "Quantity", "Rate", "Amount"))
    foot = f'<tr><td colspan="4">Sum</td><td>{amount}</td></tr>'
    return f"<h2>{escape(name)}</h2>\n<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody><tfoot>{foot}</tfoot></table>\n"


def _row(line: InvoiceLine, currency: str) -> str:
    item = UNITS[line.item] + (f" of {line.version}" if line.version else "")
    quantity = f"{Decimal(quantity_text(line)):,f}"
    per = f" / {_PER[line.item]}" if line.item in _PER else ""
    cells = (item, f"{_day_time(line.from_ns)} – {_day_time(line.until_ns)}", quantity, money_text(line.rate) + per)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + f"<td>{_money(line.amount, currency)}</td></tr>"


def _money(amount: int, currency: str) -> str:
    """At least two decimals, no more than needed."""
    whole, _, part = money_text(amount).partition(".")
    return escape(f"{int(whole):,}.{part.ljust(2, '0')} {currency}".strip()) if amount >= 0 else escape(f"{amount / MICRO} {currency}")


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


def _day_time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M")

"""Invoices: what a workspace's calls of one month cost, line by line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from modelyard.core.errors import InvalidRequest

UNITS = {
    "call": "calls",
    "row": "rows",
    "tokens_in": "tokens in",
    "tokens_out": "tokens out",
    "tokens_cached": "cached tokens",
    "compute_second": "seconds of computing",
    "explanation": "explanations",
    "cached_call": "cached calls",
}
"""What each rate of a price is for, in words."""
_MONTH = re.compile(r"(\d{4})-(\d{2})")


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One rate of one price, over the part of the month in which it was in force."""

    deployment: str
    version: str = ""
    """``model@number``, where the price is for that version alone."""
    item: str
    """The rate: ``call``, ``row`` and so on."""
    from_ns: int
    until_ns: int
    """The line counts from the first to before the second."""
    quantity: int
    """In the ledger's unit: calls, rows, tokens, microseconds of computing."""
    rate: int
    """Millionths of the currency's unit; for 1000 tokens, for a second of computing, for one of everything else."""
    amount: int
    """Millionths, rounded half up once."""


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """The bill of one workspace and month (UTC). Made from the ledger whenever it is asked for."""

    workspace: str
    month: str
    from_ns: int
    until_ns: int
    issued_ns: int
    complete: bool
    """Whether the month is over; until then it is what it would be now."""
    currency: str = ""
    lines: tuple[InvoiceLine, ...] = ()
    total: int = 0
    """Millionths; the sum of the lines."""
    answered_calls: int = 0
    """Calls that were answered: refused and failed ones cost nothing."""
    unpriced_calls: int = 0
    """Answered calls for which no price was in force."""


def parse_month(text: str) -> datetime:
    """The beginning (UTC) of a month like ``2026-11``.

    Raises InvalidRequest.
    """
    match = _MONTH.fullmatch(text.strip())
    if match is None or not 1970 <= int(match[1]) <= 2200 or not 1 <= int(match[2]) <= 12:
        raise InvalidRequest(f"{text[:40]!r} is no month; write it like 2026-11.")
    return datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC)

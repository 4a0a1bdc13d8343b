"""Limits: how much of what may be used, by whom, in which time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation, Overflow
from enum import StrEnum

import msgspec

from modelyard.core.errors import InvalidRequest, did_you_mean

MOST = 1 << 62
"""No counter goes beyond this, so that sums of two still fit 64 bits with a sign."""
MICRO = 1_000_000
"""Money is counted in millionths of its unit."""
END_OF_TIME_NS = MOST
_SECOND_NS = 1_000_000_000


class Scope(StrEnum):
    """Whose use is counted together."""

    PLATFORM = "platform"  # every call, whoever makes it
    WORKSPACE = "workspace"  # calls with keys of one workspace
    KEY = "key"  # calls with one key
    DEPLOYMENT = "deployment"  # calls of one deployment
    PRINCIPAL = "principal"  # calls with all keys of one person or service in a workspace
    SHARE = "share"  # calls of one deployment by one of the workspaces that it is shared with


class Measure(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    ROWS = "rows"
    TOKENS_IN = "tokens_in"
    TOKENS_OUT = "tokens_out"
    COMPUTE_MS = "compute_ms"  # milliseconds that models computed
    BYTES = "bytes"  # of bodies, in and out
    CONCURRENT = "concurrent"  # calls under way at the same moment
    MONEY = "money"  # by the price list, in millionths of the currency's unit


class Window(StrEnum):
    """In which time. Windows are fixed: they begin at the full second, minute, hour, day or month (UTC)."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"  # for ever
    NONE = "none"  # at any one moment; for concurrent calls only


SHORT_NS = {Window.SECOND: _SECOND_NS, Window.MINUTE: 60 * _SECOND_NS}
"""Windows that each machine keeps for itself, with their lengths; longer ones are leased from the database."""
LOCAL_WINDOWS = frozenset({*SHORT_NS, Window.NONE})


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as stored. One scope, subject, measure and window have at most one."""

    id: int
    workspace_id: int
    scope: Scope
    subject: str = ""
    """The key's public id, the deployment's or the principal's name, ``deployment/workspace`` for a share; empty for workspace and
    platform. A deployment of this name that is removed and made again is limited as before."""
    measure: Measure
    window: Window
    amount: int
    """In the measure's unit; money in millionths."""
    currency: str = ""
    """Three capital letters, for money only."""
    created_by: str = ""
    created_ns: int = 0
    updated_ns: int = 0
    revision: int = 1
    """Grows with each change; an edit that names an older one is refused."""

    @property
    def text(self) -> str:
        """As people write it: ``100 requests/minute``."""
        return amount_text(self.amount, self.measure, self.currency) + _PER[self.window]


class ServedLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as workers need it: with the id of what it is for."""

    id: int
    revision: int
    scope: Scope
    subject_id: int
    """Of the workspace, principal, key or deployment (of a share: the deployment); 0 for the platform."""
    workspace_id: int = 0
    """Where the limit holds; of a share, the workspace that borrows."""
    subject: str
    measure: Measure
    window: Window
    amount: int
    currency: str = ""

    @property
    def text(self) -> str:
        """A name for messages: ``100 requests/minute for key 1f3a``."""
        whom = f" for {self.scope.value}" + (f" {self.subject!r}" if self.subject else "")
        return amount_text(self.amount, self.measure, self.currency) + _PER[self.window] + whom

    @property
    def counted(self) -> int:
        """The amount in the unit that counters use."""
        return self.amount * UNIT[self.measure]


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a caller stands with one limit: for headers such as ``x-ratelimit-remaining-requests``."""

    measure: Measure
    amount: int
    remaining: int
    reset_seconds: float
    """Until the window ends; negative when it never does."""


class Standings(msgspec.Struct):
    """Where a caller stands with all limits that bind it, as last worked out: the same object for calls within moments."""

    each: tuple[Standing, ...]
    """For each measure, the limit of which the least is left."""
    encoded: tuple[tuple[bytes, bytes], ...] = ()
    """The headers that say so, once somebody has made them."""


UNIT = {measure: 1000 if measure is Measure.COMPUTE_MS else 1 for measure in Measure}
"""Counter units in one unit of a measure: compute time is counted in microseconds."""
_PER = {window: f"/{window.value}" for window in Window} | {Window.TOTAL: " in total", Window.NONE: ""}
_NAMES = {
    **dict.fromkeys(("", "request", "requests", "call", "calls", "req"), Measure.REQUESTS),
    **dict.fromkeys(("row", "rows"), Measure.ROWS),
    **dict.fromkeys(("tokens_in", "tokens in", "input tokens"), Measure.TOKENS_IN),
    **dict.fromkeys(("tokens_out", "tokens out", "output tokens"), Measure.TOKENS_OUT),
    **dict.fromkeys(("compute_ms", "compute ms", "ms compute"), Measure.COMPUTE_MS),
    **dict.fromkeys(("byte", "bytes"), Measure.BYTES),
    **dict.fromkeys(("concurrent", "concurrent calls", "concurrent requests", "at once"), Measure.CONCURRENT),
}
_WINDOWS = {
    **dict.fromkeys(("s", "sec", "second"), Window.SECOND),
    **dict.fromkeys(("m", "min", "minute"), Window.MINUTE),
    **dict.fromkeys(("h", "hour"), Window.HOUR),
    **dict.fromkeys(("d", "day"), Window.DAY),
    **dict.fromkeys(("mo", "month"), Window.MONTH),
    "total": Window.TOTAL,
}
_FORM = re.compile(
    r"(?P<number>[0-9][0-9_]{0,30}(?:\.[0-9]{1,6})?)\s*(?P<unit>[^/0-9]*?)\s*(?:/\s*(?P<window>[a-z]+)|(?P<total>(?:in )?total))?"
)
_CURRENCY = re.compile(r"[A-Z]{3}")
_EXAMPLES = "write it like 100/min, 5000 rows/day, 10 USD/month, 1000 requests total or 4 concurrent"


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """How much in which time: what a short form says."""

    measure: Measure
    window: Window
    amount: int
    currency: str = ""


def parse_quantity(text: str) -> Quantity:
    """What a short form such as ``100/min`` or ``10 USD/month`` means, checked.

    Raises InvalidRequest that shows the forms.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest(f"{text[:80]!r} is no limit; {_EXAMPLES}.")
    unit = match["unit"].strip()
    currency = unit if _CURRENCY.fullmatch(unit) else ""
    measure = Measure.MONEY if currency else _NAMES.get(unit.lower())
    if measure is None:
        raise InvalidRequest(f"{unit[:40]!r} cannot be limited.{did_you_mean(unit.lower(), _NAMES)} Please {_EXAMPLES}.")
    if match["window"] is not None:
        window = _WINDOWS.get(match["window"])
        if window is None:
            raise InvalidRequest(f"There is no window {match['window'][:40]!r}; use /second, /minute, /hour, /day, /month or total.")
    else:
        window = Window.NONE if measure is Measure.CONCURRENT and not match["total"] else Window.TOTAL
        if match["total"] is None and measure is not Measure.CONCURRENT:
            raise InvalidRequest(f"{text[:80]!r} does not say in which time; {_EXAMPLES}.")
    quantity = Quantity(measure=measure, window=window, amount=_number(match["number"], measure), currency=currency)
    check_quantity(quantity)
    return quantity


def check_quantity(quantity: Quantity) -> None:
    """Raises InvalidRequest for what no limit can be: nothing, less than nothing, or more than can be counted."""
    measure, window = quantity.measure, quantity.window
    if not 1 <= quantity.amount <= MOST // UNIT[measure]:
        least, most = (amount_text(amount, measure, quantity.currency) for amount in (1, MOST // UNIT[measure]))
        raise InvalidRequest(
            f"A limit of {amount_text(quantity.amount, measure, quantity.currency)} cannot be kept; it must be from {least} to {most}. "
            "To forbid calls, revoke the key or remove the deployment."
        )
    if (measure is Measure.CONCURRENT) != (window is Window.NONE):
        raise InvalidRequest("Concurrent calls are limited without a time, like '4 concurrent', and everything else within one.")
    if (measure is Measure.MONEY) != bool(quantity.currency):
        raise InvalidRequest("Money, and only money, needs a currency, like 10 USD/month.")
    if quantity.currency and not _CURRENCY.fullmatch(quantity.currency):
        raise InvalidRequest(f"{quantity.currency!r} is no currency; use three capital letters like USD or EUR.")


def amount_text(amount: int, measure: Measure, currency: str = "") -> str:
    """An amount for people: ``5000 rows``, ``10 USD``."""
    if measure is Measure.MONEY:
        return f"{money_text(amount)} {currency or 'of money'}"
    return f"{amount} {'concurrent calls' if measure is Measure.CONCURRENT else measure.value.replace('_', ' ')}"


def money_text(amount: int) -> str:
    """Millionths as a decimal number without trailing zeros: ``0.25``."""
    whole, part = divmod(abs(amount), MICRO)
    text = f"{whole}.{part:06d}".rstrip("0").rstrip(".")
    return f"-{text}" if amount < 0 else text


def parse_money(text: str) -> int:
    """Millionths of a decimal number, exactly.

    Raises InvalidRequest for what is no number, negative, or has more than six decimals.
    """
    try:
        value = Decimal(text.strip()) * MICRO
    except (InvalidOperation, Overflow):
        value = Decimal(-1)
    if not value.is_finite() or not 0 <= value <= MOST or value != value.to_integral_value():
        raise InvalidRequest(f"{text[:40]!r} is no amount of money; use a number from 0 on with at most six decimals, like 0.0025.")
    return int(value)


def window_bounds(window: Window, time_ns: int) -> tuple[int, int]:
    """Beginning and end of the window that ``time_ns`` (since the epoch) lies in."""
    if window in {Window.TOTAL, Window.NONE}:
        return 1, END_OF_TIME_NS
    if window is Window.MONTH:
        first = datetime.fromtimestamp(time_ns // _SECOND_NS, UTC).replace(day=1, hour=0, minute=0, second=0)
        following = (first + timedelta(days=32)).replace(day=1)
        return round(first.timestamp()) * _SECOND_NS, round(following.timestamp()) * _SECOND_NS
    length = {Window.HOUR: 3600 * _SECOND_NS, Window.DAY: 86400 * _SECOND_NS, **SHORT_NS}[window]
    start = time_ns // length * length
    return start, start + length


def _number(text: str, measure: Measure) -> int:
    if measure is Measure.MONEY:
        return parse_money(text.replace("_", ""))
    if "." in text:
        raise InvalidRequest(f"{text!r} must be a whole number.")
    return int(text.replace("_", ""))

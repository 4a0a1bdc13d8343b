"""Durations as people write them: ``30d``, ``12h``, ``90m``, ``45s``; and dates of expiry."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time

from modelyard.core.errors import InvalidRequest

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(s|min|m|h|d|w|y)")
LONGEST = 100 * 366 * 86400.0
"""Seconds; anything longer is a slip of the keyboard."""


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``30d``; ``never`` and an empty text are 0.

    Raises InvalidRequest that shows the form.
    """
    cleaned = text.strip().lower()
    if cleaned in {"", "never"}:
        return 0.0
    match = _DURATION.fullmatch(cleaned)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0.0 < seconds <= LONGEST:
        raise InvalidRequest(f"{text!r} is no duration; write a number and a unit, like 30d, 12h, 90m or 45s, or 'never'.")
    return seconds


def parse_expiry(text: str, now_ns: int) -> float:
    """Seconds from now until what ``text`` says: a duration (``30d``), or an ISO date or time (``2027-01-31``, in UTC unless it
    says otherwise; a date means its last second). ``never`` and an empty text are 0.

    Raises InvalidRequest that shows the forms, also for a moment that has passed.
    """
    cleaned = text.strip()
    if not re.match(r"\d{4}-", cleaned):
        return parse_duration(cleaned)
    try:
        moment = datetime.fromisoformat(cleaned)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no date; write it like 2027-01-31 or 2027-01-31T18:00, or a duration like 30d.") from None
    if len(cleaned) == 10:
        moment = datetime.combine(moment, time(23, 59, 59))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = moment.timestamp() - now_ns / 1e9
    if not 0.0 < seconds <= LONGEST:
        raise InvalidRequest(f"{text!r} is not a moment to come within a hundred years; choose a later date, or a duration like 30d.")
    return seconds


def parse_moment(text: str, now_ns: int) -> int:
    """The moment that ``text`` means, in nanoseconds: an ISO date or time (``2027-01-31``, its beginning; in UTC unless it says
    otherwise), or how long before now it was (``7d``). An empty text is 0.

    Raises InvalidRequest that shows the forms.
    """
    cleaned = text.strip()
    if not cleaned:
        return 0
    if not re.match(r"\d{4}-", cleaned):
        return max(0, now_ns - int(parse_duration(cleaned) * 1e9))
    try:
        moment = datetime.fromisoformat(cleaned)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp()) * 1_000_000_000)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{text!r} is no moment; write it like 2027-01-31 or 2027-01-31T18:00Z, or how long ago, like 7d.") from None

"""Sums of usage over any time: whole months and days from their tables, what is left at both ends from those of hours and minutes.

So an answer reads as few rows as its periods have, however many minutes, and calls, stand behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    cast,
    func,
    literal_column,
    select,
    union_all,
)

from modelyard.core.errors import Conflict
from modelyard.store.tables import usage_days, usage_deployment_days, usage_hours, usage_minutes, usage_months

DIMENSIONS = ("workspace_id", "minute", "key_id", "deployment_id", "version_id", "protocol", "kind", "status")
SUMS = (
    "calls",
    "cached_calls",
    "rows",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "queue_us",
    "compute_us",
    "bytes_in",
    "bytes_out",
    "energy_uj",
    "cached_rows",
    "cached_tokens_in",
)
TOLD = SUMS[:-2]
"""What answers tell of usage; the rest is for bills."""
DAY = 1440
MONTH = 31 * DAY
"""Stands for calendar months, whatever their length."""
TABLES = {1: usage_minutes, 60: usage_hours, DAY: usage_days, MONTH: usage_months}
"""Where sums are, by the length of their period in minutes."""
DEPLOYMENT_DAYS = usage_deployment_days
"""Sums by day that keep nothing but deployments apart."""
DEPLOYMENT = frozenset({"deployment_id"})
WHOLE = 0
"""Stands for the whole time asked for, as one period."""
PAGE = 2000

Span = tuple[int, int, int | None]
"""Length of the periods to read, first minute, minute after the last (None: to the end)."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which sums. Times are minutes since the epoch."""

    workspace_id: int
    since: int = 0
    until: int = 0
    """0: to the end."""
    period: int = WHOLE
    """1, 60, ``DAY``, ``MONTH`` or ``WHOLE``."""
    by: tuple[str, ...] = ()
    """Dimensions that keep sums apart."""
    only: Mapping[str, tuple[int, ...]] = {}
    """Dimension → the ids that count."""
    sums: tuple[str, ...] = SUMS


def read_sums(connection: Connection, wanted: Wanted, minutes_from: int = 0) -> Iterator[Sequence[Row[Any]]]:
    """Rows of the first minute of a period (UTC), the dimensions and the sums asked for, ordered by time and dimensions,
    in pages.

    Before ``minutes_from`` there are no sums by minute, so times count in whole hours there.
    """
    unknown = {*wanted.by, *wanted.only}.difference(DIMENSIONS[2:])
    if unknown:
        raise Conflict(f"Usage has no dimension {', '.join(sorted(unknown))}.")
    since = wanted.since if wanted.since >= minutes_from else wanted.since - wanted.since % 60
    until = wanted.until if wanted.until > minutes_from else -(-wanted.until // 60) * 60
    if until and until <= since:
        return
    coarsest = wanted.period or MONTH
    if coarsest == 1:
        since = max(since, minutes_from)
    pieces = spans(since, until or None, coarsest)
    parts = [_part(wanted, piece) for piece in pieces]
    if wanted.period == DAY and wanted.by == ("deployment_id",) and len(pieces) == 1 and _of_deployments(wanted, pieces[0][0]):
        # Each row of that table is a row of the answer.
        days = parts[0].order_by(DEPLOYMENT_DAYS.c.minute, DEPLOYMENT_DAYS.c.deployment_id)
        yield from connection.execute(days, execution_options={"yield_per": PAGE}).partitions(PAGE)
        return
    source = parts[0].subquery() if len(parts) == 1 else union_all(*parts).subquery()
    fixed, expression = _start(connection, wanted, source.c.minute, since)
    if not fixed and all(length == wanted.period for length, _, _ in pieces):
        # Rows begin with their period already: told so, the database need not sort what lies in order.
        expression = source.c.minute
    start = expression.label("minute")
    kept = [source.c[name] for name in wanted.by]
    sums = [cast(func.sum(source.c[name]), BigInteger).label(name) for name in wanted.sums]
    grouped = [*([] if fixed else [start]), *kept]
    query = select(start, *kept, *sums).group_by(*grouped).order_by(*grouped)
    if not grouped:
        query = query.having(func.count() > 0)
    yield from connection.execute(query, execution_options={"yield_per": PAGE}).partitions(PAGE)


def spans(since: int, until: int | None, coarsest: int) -> list[Span]:
    """What to read for the time from ``since`` to before ``until``: the longest periods that fit, shorter ones at the ends."""
    lengths = [length for length in sorted(TABLES, reverse=True) if length <= coarsest]
    return sorted(_cut(since, until, lengths))


def _cut(since: int, until: int | None, lengths: Sequence[int]) -> Iterator[Span]:
    length, *shorter = lengths
    first = _following(since - 1, length)
    last = None if until is None else start_of(until, length)
    if last is not None and first >= last:
        if shorter:
            yield from _cut(since, until, shorter)
        return
    if since < first:
        yield from _cut(since, first, shorter)
    yield length, first, last
    if last is not None and until is not None and last < until:
        yield from _cut(last, until, shorter)


def _part(wanted: Wanted, span: Span) -> Select[Any]:
    length, first, end = span
    table = DEPLOYMENT_DAYS if _of_deployments(wanted, length) else TABLES[length]
    where = [table.c.workspace_id == wanted.workspace_id, table.c.minute >= first]
    if end is not None:
        where.append(table.c.minute < end)
    where += [table.c[name].in_(ids) for name, ids in wanted.only.items()]
    return select(table.c.minute, *(table.c[name] for name in wanted.by), *(table.c[name] for name in wanted.sums)).where(*where)


def _of_deployments(wanted: Wanted, length: int) -> bool:
    """Whether the sums of whole deployments suffice."""
    return length == DAY and DEPLOYMENT.issuperset((*wanted.by, *wanted.only))


def _start(connection: Connection, wanted: Wanted, minute: ColumnElement[int], since: int) -> tuple[bool, ColumnElement[int]]:
    """The first minute of the period that a row falls into, and whether that is the same for all."""
    if wanted.period == WHOLE:
        return True, literal_column(str(int(since)), BigInteger)
    if wanted.period != MONTH:
        return False, minute - minute % literal_column(str(int(wanted.period)), BigInteger)
    days = TABLES[DAY]
    ends = select(func.min(days.c.minute), func.max(days.c.minute)).where(days.c.workspace_id == wanted.workspace_id)
    oldest, newest = connection.execute(ends).one()
    months = _months(max(since, oldest or 0), newest or 0)
    starts = [literal_column(str(month), BigInteger) for month in months]
    if len(starts) == 1:
        return True, starts[0]
    return False, case(*((minute < following, month) for month, following in pairwise(starts)), else_=starts[-1])


def _months(oldest: int, newest: int) -> list[int]:
    """The first minutes of all calendar months (UTC) from that of ``oldest`` to that of ``newest``."""
    found = [start_of(oldest, MONTH)]
    while (start := _following(found[-1], MONTH)) <= newest:
        found.append(start)
    return found


def start_of(minute: int, length: int) -> int:
    """The first minute of the period of some length that a minute falls into."""
    if length != MONTH:
        return minute - minute % length
    day = datetime.fromtimestamp(minute * 60, UTC)
    return _month(day.year, day.month)


def _following(minute: int, length: int) -> int:
    """The first minute of the period after that of ``minute``."""
    if length != MONTH:
        return minute - minute % length + length
    day = datetime.fromtimestamp(minute * 60, UTC)
    return _month(day.year + day.month // 12, day.month % 12 + 1)


def _month(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) // 60

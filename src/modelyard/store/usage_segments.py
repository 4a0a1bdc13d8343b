"""Where archived usage records are, by request id."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
from sqlalchemy import Connection, delete, insert, or_, select

from modelyard.store.tables import usage_segments


class SegmentSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Request ids in a segment: those that begin with ``prefix`` (16 hexadecimal digits) and go on with a number in a range."""

    segment: str
    prefix: str
    """Empty where ids have nothing in common; then any may be in it."""
    first: int
    last: int


class UsageSegmentsTable:
    """Rows of ``usage_segments``: an index, made anew from the archive at any time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, spans: Collection[SegmentSpan]) -> None:
        """Stores what segments hold, in place of what was stored of them."""
        self.remove({span.segment for span in spans})
        if spans:
            self._connection.execute(insert(usage_segments), [msgspec.structs.asdict(span) for span in spans])

    def remove(self, segments: Iterable[str]) -> None:
        for name in segments:
            self._connection.execute(delete(usage_segments).where(usage_segments.c.segment == name))

    def holding(self, prefix: str, number: int) -> list[str]:
        """Segments that may hold a request id, likely ones first."""
        number = min(number, (1 << 63) - 1)  # what a column holds; ids of our own making never come there
        inside = (usage_segments.c.prefix == prefix) & (usage_segments.c.first <= number) & (usage_segments.c.last >= number)
        query = select(usage_segments.c.segment).where(or_(inside, usage_segments.c.prefix == ""))
        return list(self._connection.execute(query.order_by(usage_segments.c.prefix.desc(), usage_segments.c.segment.desc())).scalars())

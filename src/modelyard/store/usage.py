"""Usage by minute, and how far each journal segment is folded into it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import BigInteger, Connection, Integer, cast, delete, func, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict
from modelyard.store.rows import decode
from modelyard.store.tables import usage_cursors, usage_minutes

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
)


class UsageMinute(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the calls of one minute that agree in everything above ``calls``; in totals, a dimension not asked for is 0."""

    workspace_id: int
    minute: int
    """Minutes since the epoch."""
    key_id: int = 0
    deployment_id: int = 0
    version_id: int = 0
    protocol: int = 0
    kind: int = 0
    status: int = 0
    calls: int = 0
    cached_calls: int = 0
    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    queue_us: int = 0
    compute_us: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class UsageTable:
    """Rows of ``usage_minutes`` and ``usage_cursors``; whoever folds moves both in one transaction."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def cursor(self, boot: str, segment: str) -> int:
        """How many records of a segment are folded; 0 for one never seen."""
        where = (usage_cursors.c.boot == boot) & (usage_cursors.c.segment == segment)
        return self._connection.execute(select(usage_cursors.c.position).where(where)).scalar_one_or_none() or 0

    def positions(self) -> dict[tuple[str, str], int]:
        """Every cursor: (boot, segment) → how many records are folded."""
        return {(row.boot, row.segment): row.position for row in self._connection.execute(select(usage_cursors))}

    def advance(self, boot: str, segment: str, expect: int, position: int) -> None:
        """Moves a segment's cursor from ``expect`` to ``position``.

        Raises Conflict when it stands elsewhere or would go back: somebody else has folded, and nothing may be counted twice.
        """
        current = self.cursor(boot, segment)
        if current != expect or position < expect:
            raise Conflict(f"Segment {segment} is folded up to record {current}, not {expect}; it cannot be moved to {position}.")
        values = {"position": position, "updated_ns": self._clock.time_ns()}
        where = (usage_cursors.c.boot == boot) & (usage_cursors.c.segment == segment)
        if not self._connection.execute(update(usage_cursors).where(where).values(**values)).rowcount:
            self._connection.execute(insert(usage_cursors).values(boot=boot, segment=segment, **values))

    def forget(self, boot: str, segment: str) -> None:
        """Drops the cursor of a segment whose file is gone."""
        self._connection.execute(delete(usage_cursors).where(usage_cursors.c.boot == boot, usage_cursors.c.segment == segment))

    def add(self, minutes: Iterable[UsageMinute]) -> None:
        """Adds sums to what is stored under the same dimensions."""
        rows = [msgspec.structs.asdict(minute) for minute in minutes]
        if not rows:
            return
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(usage_minutes)
        added = {name: usage_minutes.c[name] + statement.excluded[name] for name in SUMS}
        self._connection.execute(statement.on_conflict_do_update(index_elements=list(DIMENSIONS), set_=added), rows)

    def totals(
        self, workspace_id: int, *, since_minute: int = 0, until_minute: int = 0, by: Iterable[str] = (), key_id: int = 0
    ) -> list[UsageMinute]:
        """Sums from ``since_minute`` to before ``until_minute`` (0: to the end), split by the dimensions named in ``by``."""
        kept = {"workspace_id", *by}
        unknown = kept.difference(DIMENSIONS)
        if unknown:
            raise Conflict(f"Usage has no dimension {', '.join(sorted(unknown))}.")
        columns = [usage_minutes.c[name] if name in kept else literal_column("0", Integer).label(name) for name in DIMENSIONS]
        sums = [cast(func.sum(usage_minutes.c[name]), BigInteger).label(name) for name in SUMS]
        query = select(*columns, *sums).where(usage_minutes.c.workspace_id == workspace_id, usage_minutes.c.minute >= since_minute)
        if until_minute:
            query = query.where(usage_minutes.c.minute < until_minute)
        if key_id:
            query = query.where(usage_minutes.c.key_id == key_id)
        grouped = [usage_minutes.c[name] for name in DIMENSIONS if name in kept]
        rows = self._connection.execute(query.group_by(*grouped).order_by(*grouped)).mappings()
        return [decode(row, UsageMinute) for row in rows]

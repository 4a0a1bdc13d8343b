"""Usage by minute, hour, day and month, and how far each journal segment is folded into it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, Table, Text, cast, delete, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict
from modelyard.store.settings import SettingsTable
from modelyard.store.tables import deployments, keys, models, usage_cursors, usage_minutes, versions, workspaces
from modelyard.store.usage_sums import DAY, DEPLOYMENT_DAYS, DIMENSIONS, PAGE, SUMS, TABLES, WHOLE, Wanted, read_sums, start_of

MINUTES_FROM = "usage.minutes_from"
_BY_DEPLOYMENT = ("workspace_id", "minute", "deployment_id")
_NAMES: dict[str, Select[Any]] = {
    "key_id": select(keys.c.id, keys.c.public_id, keys.c.label),
    "deployment_id": select(deployments.c.id, deployments.c.name, literal("")),
    "version_id": select(versions.c.id, models.c.name + "@" + cast(versions.c.number, Text), literal("")).join_from(
        versions, models, versions.c.model_id == models.c.id
    ),
}


class UsageMinute(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the calls of one minute that agree in everything above ``calls``."""

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
    energy_uj: int = 0
    """Microjoules; 0 where the machine does not report any."""
    cached_rows: int = 0
    """Of ``rows``, those of cached calls; so the next."""
    cached_tokens_in: int = 0

    @property
    def computed(self) -> UsageMinute:
        """Without calls that were answered without computing; of what these would have put out nothing is counted."""
        return msgspec.structs.replace(
            self,
            calls=self.calls - self.cached_calls,
            cached_calls=0,
            rows=self.rows - self.cached_rows,
            cached_rows=0,
            tokens_in=self.tokens_in - self.cached_tokens_in,
            cached_tokens_in=0,
        )


class UsageTable:
    """Sums of usage and the cursors of segments; whoever folds moves both in one transaction."""

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
        """Adds sums to what is stored of the same dimensions for their minute, hour, day and month."""
        rows = [msgspec.structs.asdict(minute) for minute in minutes]
        if not rows:
            return
        for length, table in TABLES.items():
            rows = _rolled_up(rows, length, DIMENSIONS)
            self._upsert(table, rows, DIMENSIONS)
            if length == DAY:
                self._upsert(DEPLOYMENT_DAYS, _rolled_up(rows, DAY, _BY_DEPLOYMENT), _BY_DEPLOYMENT)

    def prune(self, before_minute: int) -> int:
        """Drops sums by minute of before ``before_minute``, which hours, days and months keep; how many rows went."""
        gone = 0
        for workspace_id in self._connection.execute(select(workspaces.c.id)).scalars().all():
            old = (usage_minutes.c.workspace_id == workspace_id) & (usage_minutes.c.minute < before_minute)
            gone += self._connection.execute(delete(usage_minutes).where(old)).rowcount
        SettingsTable(self._connection).put(MINUTES_FROM, str(max(before_minute, self.minutes_from())))
        return gone

    def minutes_from(self) -> int:
        """From which minute on there are sums by minute; 0 while none were dropped."""
        return SettingsTable(self._connection).count(MINUTES_FROM)

    def sums(self, wanted: Wanted) -> Iterator[Sequence[Row[Any]]]:
        """See ``read_sums``."""
        return read_sums(self._connection, wanted, self.minutes_from())

    def totals(self, workspace_id: int, *, since_minute: int = 0, until_minute: int = 0, by: Iterable[str] = ()) -> list[UsageMinute]:
        """Sums from ``since_minute`` to before ``until_minute`` (0: to the end), split by the dimensions named in ``by``."""
        split = tuple(by)
        period = 1 if "minute" in split else WHOLE
        kept = tuple(name for name in split if name != "minute")
        wanted = Wanted(workspace_id=workspace_id, since=since_minute, until=until_minute, period=period, by=kept)
        names = ["minute", *kept, *SUMS]
        pages = self.sums(wanted)
        return [UsageMinute(workspace_id=workspace_id, **dict(zip(names, row, strict=True))) for page in pages for row in page]

    def names(self, dimension: str, ids: Collection[int]) -> dict[int, tuple[str, str]]:
        """What people call keys, deployments and versions that still exist: id → name, and a key's label."""
        found: dict[int, tuple[str, str]] = {}
        wanted = list(ids)
        for at in range(0, len(wanted), PAGE):
            rows = self._connection.execute(_NAMES[dimension].where(_NAMES[dimension].selected_columns[0].in_(wanted[at : at + PAGE])))
            found |= {row[0]: (row[1], row[2]) for row in rows}
        return found

    def _upsert(self, table: Table, rows: list[dict[str, int]], dimensions: Sequence[str]) -> None:
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(table)
        added = {name: table.c[name] + statement.excluded[name] for name in SUMS}
        self._connection.execute(statement.on_conflict_do_update(index_elements=list(dimensions), set_=added), rows)


def _rolled_up(rows: list[dict[str, int]], length: int, dimensions: Sequence[str]) -> list[dict[str, int]]:
    """Sums of rows that fall into the same period of some length and agree in all dimensions."""
    found: dict[tuple[int, ...], dict[str, int]] = {}
    starts = {minute: start_of(minute, length) for minute in {each["minute"] for each in rows}}
    for each in rows:
        row = {name: each[name] for name in dimensions} | {"minute": starts[each["minute"]]}
        same = found.setdefault(tuple(row.values()), row)
        for name in SUMS:
            same[name] = same.get(name, 0) + each[name]
    return list(found.values())

"""The ledger: sums of usage by time, and where single records are."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, String, Table

from modelyard.store.tables.base import count, metadata, time

usage_cursors = Table(
    "usage_cursors",
    metadata,
    Column("boot", String(64), primary_key=True),
    Column("segment", String(120), primary_key=True),
    Column("position", BigInteger, nullable=False),
    time("updated_ns"),
)


_SMALL = ("protocol", "kind", "status")
_AMOUNTS = ("calls", "cached_calls", "rows", "tokens_in", "tokens_out", "tokens_cached")
_SUMS = (*_AMOUNTS, "queue_us", "compute_us", "bytes_in", "bytes_out", "energy_uj", "cached_rows", "cached_tokens_in")


def _usage(name: str, order: tuple[str, ...] = ("key_id", "deployment_id", "version_id")) -> Table:
    # No foreign keys: usage outlives what it names, and the journal may name what a restored database lacks.
    dimensions = ("workspace_id", "minute", "key_id", "deployment_id", "version_id")
    return Table(
        name,
        metadata,
        *(Column(dimension, BigInteger, nullable=False, autoincrement=False) for dimension in dimensions),
        *(Column(dimension, Integer, nullable=False, autoincrement=False) for dimension in _SMALL),
        *(count(column) for column in _SUMS),
        PrimaryKeyConstraint("workspace_id", "minute", *order, *_SMALL),
        sqlite_with_rowid=False,  # rows of one time lie together
    )


usage_minutes = _usage("usage_minutes")

_BY_DEPLOYMENT = ("deployment_id", "key_id", "version_id")
"""What is asked for most needs no sorting then."""

usage_hours = _usage("usage_hours", _BY_DEPLOYMENT)
"""The same by hour; ``minute`` is the first of the hour."""

usage_days = _usage("usage_days", _BY_DEPLOYMENT)
"""The same by day (UTC)."""

usage_months = _usage("usage_months", _BY_DEPLOYMENT)
"""The same by calendar month (UTC)."""

usage_deployment_days = Table(
    "usage_deployment_days",
    metadata,
    # By day, too, with nothing kept apart but deployments: what pictures of a year are drawn from.
    *(Column(name, BigInteger, nullable=False, autoincrement=False) for name in ("workspace_id", "minute", "deployment_id")),
    *(count(column) for column in _SUMS),
    PrimaryKeyConstraint("workspace_id", "minute", "deployment_id"),
    sqlite_with_rowid=False,
)

usage_segments = Table(
    "usage_segments",
    metadata,
    # Where an archived record is: the beginnings of the request ids in each segment, and between which numbers those lie.
    Column("segment", String(120), primary_key=True),
    Column("prefix", String(16), primary_key=True),
    count("first"),
    count("last"),
    Index(None, "prefix", "first"),
)

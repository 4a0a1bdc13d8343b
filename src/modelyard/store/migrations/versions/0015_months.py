"""Usage by month, and by day for whole deployments: what is asked of long times reads a few rows."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIME = ("workspace_id", "minute")
_IDS = ("deployment_id", "key_id", "version_id")
_SMALL = ("protocol", "kind", "status")
_AMOUNTS = ("calls", "cached_calls", "rows", "tokens_in", "tokens_out", "tokens_cached")
_SUMS = (*_AMOUNTS, "queue_us", "compute_us", "bytes_in", "bytes_out", "energy_uj", "cached_rows", "cached_tokens_in")


def upgrade() -> None:
    _table("usage_months", ("key_id", "deployment_id", "version_id"), _IDS, _SMALL)
    _table("usage_deployment_days", ("deployment_id",), ("deployment_id",), ())
    connection = op.get_bind()
    oldest, newest = connection.execute(sa.text("SELECT min(minute), max(minute) FROM usage_days")).one()
    if oldest is None:
        return
    _fill("usage_deployment_days", "minute", ("deployment_id",), "")
    first = datetime.fromtimestamp(oldest * 60, UTC)
    number = first.year * 12 + first.month - 1
    while (start := _month(number)) <= newest:
        _fill("usage_months", str(start), (*_IDS, *_SMALL), f"WHERE minute >= {start} AND minute < {_month(number + 1)}")
        number += 1


def _table(name: str, ids: tuple[str, ...], order: tuple[str, ...], small: tuple[str, ...]) -> None:
    op.create_table(
        name,
        *(sa.Column(column, sa.BigInteger(), autoincrement=False, nullable=False) for column in (*_TIME, *ids)),
        *(sa.Column(column, sa.Integer(), autoincrement=False, nullable=False) for column in small),
        *(sa.Column(column, sa.BigInteger(), server_default="0", nullable=False) for column in _SUMS),
        sa.PrimaryKeyConstraint(*_TIME, *order, *small, name=op.f(f"pk_{name}")),
        sqlite_with_rowid=False,
    )


def _fill(name: str, start: str, kept: tuple[str, ...], where: str) -> None:
    """What was used before this step; ``start`` is the first minute of the period, as SQL says it."""
    groups = ", ".join(kept)
    sums = ", ".join(f"CAST(sum({column}) AS BIGINT)" for column in _SUMS)
    apart = "" if start.isdecimal() else f"{start}, "
    chosen = f"SELECT workspace_id, {start}, {groups}, {sums} FROM usage_days {where} GROUP BY workspace_id, {apart}{groups}"  # noqa: S608
    op.execute(f"INSERT INTO {name} (workspace_id, minute, {groups}, {', '.join(_SUMS)}) {chosen}")


def _month(number: int) -> int:
    """The minute that the month begins with."""
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) // 60

"""Usage by hour and day, where archived usage records are, signed heads of the audit log, and an audit log that only grows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DIMENSIONS = ("workspace_id", "minute", "key_id", "deployment_id", "version_id")
_SMALL = ("protocol", "kind", "status")
_SUMS = ("calls", "cached_calls", "rows", "tokens_in", "tokens_out", "tokens_cached", "queue_us", "compute_us", "bytes_in", "bytes_out")
_REFUSAL = "is append-only: rows of it are never changed or deleted"


def upgrade() -> None:
    for name, minutes in (("usage_hours", 60), ("usage_days", 1440)):
        _usage(name)
        _fill(name, minutes)
    op.create_table(
        "usage_segments",
        sa.Column("segment", sa.String(length=120), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        _count("first"),
        _count("last"),
        sa.PrimaryKeyConstraint("segment", "prefix", name=op.f("pk_usage_segments")),
    )
    op.create_index(op.f("ix_usage_segments_prefix_first"), "usage_segments", ["prefix", "first"], unique=False)
    _heads()
    for table in ("audit", "audit_heads"):
        _append_only(table)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _usage(name: str) -> None:
    op.create_table(
        name,
        *(sa.Column(column, sa.BigInteger(), autoincrement=False, nullable=False) for column in _DIMENSIONS),
        *(sa.Column(column, sa.Integer(), autoincrement=False, nullable=False) for column in _SMALL),
        *(_count(column) for column in _SUMS),
        sa.PrimaryKeyConstraint(*_DIMENSIONS, *_SMALL, name=op.f(f"pk_{name}")),
        sqlite_with_rowid=False,
    )


def _fill(name: str, minutes: int) -> None:
    """What was used before this step."""
    names = (*_DIMENSIONS, *_SMALL, *_SUMS)
    source, target = (sa.table(table, *(sa.column(column) for column in names)) for table in ("usage_minutes", name))
    start = source.c.minute - source.c.minute % minutes
    kept = [start.label("minute") if column == "minute" else source.c[column] for column in (*_DIMENSIONS, *_SMALL)]
    sums = [sa.cast(sa.func.sum(source.c[column]), sa.BigInteger()) for column in _SUMS]
    # By place: "minute" alone would mean the source's own column.
    places: list[sa.ColumnElement[int]] = [sa.literal_column(str(place)) for place in range(1, len(kept) + 1)]
    op.execute(sa.insert(target).from_select([*_DIMENSIONS, *_SMALL, *_SUMS], sa.select(*kept, *sums).group_by(*places)))


def _heads() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("workspace_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        _count("time_ns"),
        sa.Column("signer", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_audit_heads_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_heads")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_heads_workspace_id_id"), "audit_heads", ["workspace_id", "id"], unique=False)


def _append_only(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("update", "delete"):
            refuse = f"SELECT RAISE(ABORT, '{table} {_REFUSAL}')"
            op.execute(f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} BEGIN {refuse}; END")
        return
    op.execute(f"""
CREATE OR REPLACE FUNCTION modelyard_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' {_REFUSAL}', ERRCODE = 'restrict_violation';
END $$""")
    op.execute(f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION modelyard_append_only()")
    op.execute(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION modelyard_append_only()")

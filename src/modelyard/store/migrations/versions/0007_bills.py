"""Names of removed deployments, which bills still need; hours and days in the order they are asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_DIMENSIONS = ("workspace_id", "minute", "key_id", "deployment_id", "version_id")
_SMALL = ("protocol", "kind", "status")
_SUMS = ("calls", "cached_calls", "rows", "tokens_in", "tokens_out", "tokens_cached", "queue_us", "compute_us", "bytes_in", "bytes_out")
_ORDER = ("workspace_id", "minute", "deployment_id", "key_id", "version_id", *_SMALL)


def upgrade() -> None:
    op.create_table(
        "former_deployments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("workspace_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        _count("removed_ns"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_former_deployments_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_former_deployments")),
    )
    op.create_index(op.f("ix_former_deployments_workspace_id"), "former_deployments", ["workspace_id"], unique=False)
    for name in ("usage_hours", "usage_days"):
        _reorder(name)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _reorder(name: str) -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f(f"pk_{name}"), name, type_="primary")
        op.create_primary_key(op.f(f"pk_{name}"), name, list(_ORDER))
        return
    new = f"{name}_new"
    op.create_table(
        new,
        *(sa.Column(column, sa.BigInteger(), autoincrement=False, nullable=False) for column in _DIMENSIONS),
        *(sa.Column(column, sa.Integer(), autoincrement=False, nullable=False) for column in _SMALL),
        *(_count(column) for column in _SUMS),
        sa.PrimaryKeyConstraint(*_ORDER, name=op.f(f"pk_{name}")),
        sqlite_with_rowid=False,
    )
    columns = [*_DIMENSIONS, *_SMALL, *_SUMS]
    source, target = (sa.table(table, *(sa.column(column) for column in columns)) for table in (name, new))
    op.execute(sa.insert(target).from_select(columns, sa.select(*source.c)))
    op.drop_table(name)
    op.rename_table(new, name)

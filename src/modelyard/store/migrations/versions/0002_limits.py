"""Limits, what machines have leased of them, and prices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _leases()
    _limits()
    _prices()


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False)


def _workspace() -> sa.Column[int]:
    return sa.Column("workspace_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def _number(name: str, default: str = "0") -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=default, nullable=False)


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("limit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("window_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        _number("granted"),
        _number("spent"),
        _number("updated_ns"),
        sa.PrimaryKeyConstraint("limit_id", "window_ns", "holder", name=op.f("pk_leases")),
    )


def _limits() -> None:
    op.create_table(
        "limits",
        _id(),
        _workspace(),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=63), nullable=False),
        sa.Column("measure", sa.String(length=16), nullable=False),
        sa.Column("window", sa.String(length=16), nullable=False),
        _number("amount"),
        sa.Column("currency", sa.String(length=3), server_default="", nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        _number("created_ns"),
        _number("updated_ns"),
        _number("revision", "1"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_limits_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_limits")),
        sa.UniqueConstraint(
            "workspace_id", "scope", "subject", "measure", "window", name=op.f("uq_limits_workspace_id_scope_subject_measure_window")
        ),
        sqlite_autoincrement=True,
    )


def _prices() -> None:
    op.create_table(
        "prices",
        _id(),
        _workspace(),
        sa.Column("deployment", sa.String(length=63), nullable=False),
        _number("version_id"),
        sa.Column("currency", sa.String(length=3), nullable=False),
        _number("call"),
        _number("row"),
        _number("tokens_in"),
        _number("tokens_out"),
        _number("tokens_cached"),
        _number("compute_second"),
        _number("explanation"),
        _number("effective_ns"),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        _number("created_ns"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_prices_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prices")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_prices_workspace_id_deployment"), "prices", ["workspace_id", "deployment"], unique=False)

"""Deployments that other workspaces may call, and names long enough for what is limited."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("workspace_id", _ID, nullable=False),
        sa.Column("deployment_id", _ID, nullable=False),
        sa.Column("deployment", sa.String(length=63), nullable=False),
        sa.Column("borrower_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=127), nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("created_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_shares_workspace_id")),
        sa.ForeignKeyConstraint(["borrower_id"], ["workspaces.id"], name=op.f("fk_shares_borrower_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shares")),
        sa.UniqueConstraint("deployment_id", "borrower_id", name=op.f("uq_shares_deployment_id_borrower_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_shares_workspace_id"), "shares", ["workspace_id"], unique=False)
    op.create_index(op.f("ix_shares_borrower_id_name"), "shares", ["borrower_id", "name"], unique=False)
    if op.get_context().dialect.name == "postgresql":  # SQLite counts no characters
        op.alter_column("limits", "subject", type_=sa.String(length=200), existing_nullable=False)

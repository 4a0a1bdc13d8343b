"""What workspaces may hold while their jobs run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pools",
        sa.Column("workspace_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("cores", sa.Float(), server_default="0", nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in ("memory_bytes", "gpus", "jobs")),
        sa.Column("share", sa.Float(), server_default="1", nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_pools_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_pools")),
    )

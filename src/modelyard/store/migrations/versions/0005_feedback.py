"""What users reported of answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "feedback",
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("workspace_id", key, nullable=False),
        sa.Column("deployment_id", key, nullable=False),
        sa.Column("version_id", key, nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_feedback_workspace_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_feedback")),
    )
    op.create_index(op.f("ix_feedback_deployment_id_time_ns"), "feedback", ["deployment_id", "time_ns"], unique=False)
    op.create_index(op.f("ix_feedback_time_ns"), "feedback", ["time_ns"], unique=False)

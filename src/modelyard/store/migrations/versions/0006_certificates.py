"""Which keys client certificates stand for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "certificates",
        sa.Column("id", key, autoincrement=True, nullable=False),
        sa.Column("workspace_id", key, nullable=False),
        sa.Column("key_id", key, nullable=False),
        sa.Column("certificate", sa.String(length=1100), nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("created_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_certificates_workspace_id")),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_certificates_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
        sa.UniqueConstraint("certificate", name=op.f("uq_certificates_certificate")),
    )
    op.create_index(op.f("ix_certificates_key_id"), "certificates", ["key_id"], unique=False)

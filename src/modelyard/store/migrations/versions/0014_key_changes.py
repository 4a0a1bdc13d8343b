"""When each key changed last, so that of very many only those are read that have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("keys", sa.Column("changed", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index(op.f("ix_keys_changed"), "keys", ["changed"], unique=False)

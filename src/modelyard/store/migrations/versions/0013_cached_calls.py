"""What a cached call costs, and of usage what was cached."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prices", sa.Column("cached_call", sa.BigInteger(), nullable=True))
    for table in ("usage_minutes", "usage_hours", "usage_days"):
        for name in ("cached_rows", "cached_tokens_in"):
            op.add_column(table, sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))

"""How much energy usage took, where the machine reports it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("usage_minutes", "usage_hours", "usage_days"):
        op.add_column(table, sa.Column("energy_uj", sa.BigInteger(), server_default="0", nullable=False))

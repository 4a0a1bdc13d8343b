"""Keys that administer get the rights that came since: trust, audit and manage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW = ("audit", "manage", "trust")


def upgrade() -> None:
    # Until now "admin" meant all of them, in the workspace too; a key with it loses nothing.
    keys = sa.table("keys", sa.column("id", sa.BigInteger()), sa.column("actions", sa.JSON()))
    connection = op.get_bind()
    for identity, actions in connection.execute(sa.select(keys.c.id, keys.c.actions)).all():
        if "admin" in actions:
            connection.execute(keys.update().where(keys.c.id == identity).values(actions=sorted({*actions, *_NEW})))

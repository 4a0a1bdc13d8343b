"""Rows of the audit log cannot be replaced either: SQLite's INSERT OR REPLACE deletes rows without asking the trigger on deleting."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_ALIKE = {
    "audit": "(id = NEW.id) OR (workspace_id = NEW.workspace_id AND previous_hash = NEW.previous_hash)",
    "audit_heads": "(id = NEW.id)",
}


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # PostgreSQL has no such statement: ON CONFLICT DO UPDATE is an update
    for table, alike in _ALIKE.items():
        when = f"EXISTS (SELECT 1 FROM {table} WHERE {alike})"  # noqa: S608
        refuse = f"SELECT RAISE(ABORT, '{table} is append-only: rows of it are never changed or deleted')"
        op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {when} BEGIN {refuse}; END")

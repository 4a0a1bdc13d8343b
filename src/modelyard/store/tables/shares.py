"""Which deployments other workspaces may call."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, String, Table, UniqueConstraint

from modelyard.store.tables.base import ID, identity, metadata, text, time, workspace

shares = Table(
    "shares",
    metadata,
    identity(),
    workspace(),
    # No foreign key: a share that has ended outlives its deployment, for the sake of old bills.
    Column("deployment_id", ID, nullable=False),
    Column("deployment", String(63), nullable=False),
    Column("borrower_id", ID, ForeignKey("workspaces.id"), nullable=False),
    Column("name", String(127), nullable=False),
    text("created_by"),
    time("created_ns"),
    time("ended_ns"),
    UniqueConstraint("deployment_id", "borrower_id"),
    Index(None, "workspace_id"),
    Index(None, "borrower_id", "name"),
    sqlite_autoincrement=True,
)

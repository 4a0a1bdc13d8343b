"""The audit log, which only grows, and its signed heads."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, UniqueConstraint

from modelyard.store.append_only import append_only
from modelyard.store.tables.base import document, identity, metadata, text, time, workspace

audit = Table(
    "audit",
    metadata,
    identity(),
    workspace(),
    time("time_ns"),
    text("actor"),
    text("address"),
    text("request_id"),
    Column("action", String(63), nullable=False),
    text("subject"),
    document("before"),
    document("after"),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "workspace_id", "id"),
    # A fork of the chain is impossible, whatever the isolation level.
    UniqueConstraint("workspace_id", "previous_hash"),
    sqlite_autoincrement=True,
)

audit_heads = Table(
    "audit_heads",
    metadata,
    # No foreign key: a head must be able to outlive the row that it was signed for, to tell that it is gone.
    identity(),
    workspace(),
    Column("event_id", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    time("time_ns"),
    Column("signer", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
    Index(None, "workspace_id", "id"),
    sqlite_autoincrement=True,
)

for _table in (audit, audit_heads):
    append_only(_table)

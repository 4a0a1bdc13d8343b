"""Jobs, and what workspaces may hold while theirs run."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table

from modelyard.store.tables.base import ID, count, document, identity, metadata, text, time, workspace

jobs = Table(
    "jobs",
    metadata,
    identity(),
    workspace(),
    Column("kind", String(63), nullable=False),
    document("spec"),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    document("limits"),
    document("progress"),
    document("result"),
    text("error"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("pid", BigInteger, nullable=False, server_default="0"),
    text("created_by"),
    time("created_ns"),
    time("started_ns"),
    time("ended_ns"),
    Column("cancel_requested", Boolean, nullable=False),
    Index(None, "status", "priority"),
    Index(None, "workspace_id", "id"),
    sqlite_autoincrement=True,
)

pools = Table(
    "pools",
    metadata,
    Column("workspace_id", ID, ForeignKey("workspaces.id"), primary_key=True, autoincrement=False),
    Column("cores", Float, nullable=False, server_default="0"),
    count("memory_bytes"),
    count("gpus"),
    count("jobs"),
    Column("share", Float, nullable=False, server_default="1"),
    time("updated_ns"),
)

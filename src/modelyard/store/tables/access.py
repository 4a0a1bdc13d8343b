"""Who may call."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from modelyard.store.tables.base import document, identity, metadata, text, time, workspace

keys = Table(
    "keys",
    metadata,
    identity(),
    workspace(),
    Column("public_id", String(63), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),
    text("label"),
    document("actions"),
    document("deployments"),
    text("created_by"),
    time("created_ns"),
    time("expires_ns"),
    time("revoked_ns"),
    sqlite_autoincrement=True,
)

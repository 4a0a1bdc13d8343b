"""Which keys client certificates stand for."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, String, Table

from modelyard.store.tables.base import ID, identity, metadata, text, time, workspace

certificates = Table(
    "certificates",
    metadata,
    identity(),
    workspace(),
    Column("key_id", ID, ForeignKey("keys.id"), nullable=False, index=True),
    Column("certificate", String(1100), nullable=False, unique=True),
    text("created_by"),
    time("created_ns"),
)

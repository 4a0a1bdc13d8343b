"""Tables of the platform itself."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table, Text

from modelyard.store.tables.base import identity, metadata, time

workspaces = Table(
    "workspaces",
    metadata,
    identity(),
    Column("name", String(63), nullable=False, unique=True),
    time("created_ns"),
    time("removed_ns"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    sqlite_autoincrement=True,
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("value", Text, nullable=False),
)

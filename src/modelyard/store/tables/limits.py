"""Limits, what is leased under them, and prices."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, UniqueConstraint

from modelyard.store.tables.base import count, identity, metadata, text, time, workspace

limits = Table(
    "limits",
    metadata,
    identity(),
    workspace(),
    Column("scope", String(16), nullable=False),  # core.limits.Scope
    # SQLite counts no characters and cannot widen a column.
    Column("subject", String(200).with_variant(String(63), "sqlite"), nullable=False),
    Column("measure", String(16), nullable=False),
    Column("window", String(16), nullable=False),
    count("amount"),
    Column("currency", String(3), nullable=False, server_default=""),
    text("created_by"),
    time("created_ns"),
    time("updated_ns"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    UniqueConstraint("workspace_id", "scope", "subject", "measure", "window"),
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    # No foreign keys: what was leased under a limit that is gone must not stop its removal.
    Column("limit_id", BigInteger, primary_key=True, autoincrement=False),
    Column("window_ns", BigInteger, primary_key=True, autoincrement=False),  # when the window began
    Column("holder", String(64), primary_key=True),  # one machine's counters
    Column("workspace_id", BigInteger, nullable=False),
    Column("node", String(64), nullable=False),  # the home that the holder belongs to
    count("granted"),
    count("spent"),
    time("updated_ns"),
)

prices = Table(
    "prices",
    metadata,
    identity(),
    workspace(),
    Column("deployment", String(63), nullable=False),
    Column("version_id", BigInteger, nullable=False, server_default="0"),
    Column("currency", String(3), nullable=False),
    count("call"),
    count("row"),
    count("tokens_in"),
    count("tokens_out"),
    count("tokens_cached"),
    count("compute_second"),
    count("explanation"),
    time("effective_ns"),
    text("created_by"),
    time("created_ns"),
    Column("cached_call", BigInteger, nullable=True),  # none: what any other call costs
    Index(None, "workspace_id", "deployment"),
    sqlite_autoincrement=True,
)

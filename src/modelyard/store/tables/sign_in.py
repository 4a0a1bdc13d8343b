"""How people sign in: passwords, one-time links, sessions and OpenID providers."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, String, Table

from modelyard.store.tables.base import ID, identity, metadata, text, time

passwords = Table(
    "passwords",
    metadata,
    Column("principal_id", ID, ForeignKey("principals.id"), primary_key=True, autoincrement=False),
    text("hash"),  # argon2id; empty until one was set
    time("set_ns"),
    Column("failures", BigInteger, nullable=False, server_default="0"),
    time("blocked_until_ns"),
    Column("link_digest", String(64), nullable=True, unique=True),  # of the one-time link that sets a password
    time("link_until_ns"),
)

sessions = Table(
    "sessions",
    metadata,
    identity(),
    Column("principal_id", ID, ForeignKey("principals.id"), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("csrf", String(64), nullable=False),
    text("address"),
    time("created_ns"),
    time("expires_ns"),
    Index(None, "principal_id"),
    sqlite_autoincrement=True,
)

providers = Table(
    "providers",
    metadata,
    Column("name", String(63), primary_key=True),
    text("issuer"),
    text("client_id"),
    text("sealed_secret"),
    text("scopes"),
    text("groups_claim"),
    Column("mapping", JSON(none_as_null=True), nullable=False),
    Column("revision", BigInteger, nullable=False, server_default="1"),
)

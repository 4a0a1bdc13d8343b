"""Who may call: principals, what they are where, and their keys."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, String, Table, UniqueConstraint, false

from modelyard.store.tables.base import ID, document, identity, metadata, text, time, workspace

principals = Table(
    "principals",
    metadata,
    identity(),
    workspace(),
    Column("kind", String(16), nullable=False),  # core.principals.PrincipalKind
    Column("name", String(200), nullable=False),
    text("display"),
    text("issuer"),
    text("subject"),
    Column("admin", Boolean, nullable=False, server_default=false()),
    text("created_by"),
    time("created_ns"),
    time("disabled_ns"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    UniqueConstraint("workspace_id", "kind", "name"),
    Index(None, "issuer", "subject"),
    sqlite_autoincrement=True,
)

memberships = Table(
    "memberships",
    metadata,
    identity(),
    workspace(),
    Column("principal_id", ID, ForeignKey("principals.id"), nullable=False),
    document("roles"),
    Column("trust", Boolean, nullable=False, server_default=false()),
    text("created_by"),
    time("created_ns"),
    time("updated_ns"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    UniqueConstraint("workspace_id", "principal_id"),
    Index(None, "principal_id"),
    sqlite_autoincrement=True,
)

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
    # No foreign key: SQLite adds none to a table that is there. A key whose principal is not there may do nothing.
    Column("principal_id", BigInteger, nullable=False, server_default="0"),
    Column("previous_digest", String(64), nullable=True),
    time("previous_until_ns"),
    Column("networks", JSON(none_as_null=True), nullable=False, server_default="[]"),
    time("rotated_ns"),
    time("used_ns"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    Column("changed", BigInteger, nullable=False, server_default="0"),  # the counter STATE as of its last change
    Index(None, "previous_digest", unique=True),
    Index(None, "principal_id"),
    Index(None, "changed"),
    sqlite_autoincrement=True,
)

"""Models, their versions and aliases, and data sets."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, String, Table, UniqueConstraint

from modelyard.store.tables.base import ID, document, identity, metadata, text, time, workspace

models = Table(
    "models",
    metadata,
    identity(),
    workspace(),
    Column("name", String(63), nullable=False),
    text("description"),
    document("tags"),
    Column("last_number", BigInteger, nullable=False, server_default="0"),  # numbers are never given twice, not even after a deletion
    time("created_ns"),
    UniqueConstraint("workspace_id", "name"),
    UniqueConstraint("workspace_id", "id"),
    sqlite_autoincrement=True,
)

versions = Table(
    "versions",
    metadata,
    identity(),
    workspace(),
    Column("model_id", ID, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("format", String(63), nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    text("entry"),
    document("signature"),
    document("profile"),
    document("metrics"),
    document("report"),
    document("card"),
    document("lineage"),
    document("tags"),
    time("created_ns"),
    text("created_by"),
    ForeignKeyConstraint(["workspace_id", "model_id"], ["models.workspace_id", "models.id"]),
    UniqueConstraint("model_id", "number"),
    UniqueConstraint("workspace_id", "id"),
    sqlite_autoincrement=True,
)

version_files = Table(
    "version_files",
    metadata,
    workspace(),
    Column("version_id", ID, primary_key=True),
    Column("role", String(16), primary_key=True),  # artifact | attachment
    Column("path", String(1024), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    ForeignKeyConstraint(["workspace_id", "version_id"], ["versions.workspace_id", "versions.id"], ondelete="CASCADE"),
)

aliases = Table(
    "aliases",
    metadata,
    workspace(),
    Column("model_id", ID, primary_key=True),
    Column("alias", String(63), primary_key=True),
    Column("number", BigInteger, nullable=False),
    ForeignKeyConstraint(["workspace_id", "model_id"], ["models.workspace_id", "models.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    identity(),
    workspace(),
    Column("model_id", ID, nullable=False),
    Column("alias", String(63), nullable=False),
    Column("number", BigInteger, nullable=False),  # 0: the alias was removed
    time("time_ns"),
    ForeignKeyConstraint(["workspace_id", "model_id"], ["models.workspace_id", "models.id"], ondelete="CASCADE"),
    Index(None, "model_id", "alias"),
    sqlite_autoincrement=True,
)

datasets = Table(
    "datasets",
    metadata,
    identity(),
    workspace(),
    Column("name", String(63), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    text("filename"),
    document("schema"),
    time("created_ns"),
    UniqueConstraint("workspace_id", "name", "number"),
    sqlite_autoincrement=True,
)

"""The schema, as SQLAlchemy tables. ``migrations/`` builds the same, step by step; a test holds both together.

Every table has its ``workspace_id`` but those that know no tenant: ``workspaces`` themselves, ``settings``, ``usage_cursors`` and
``usage_segments``.
Times are integer nanoseconds since the epoch (UTC), 0 for "not yet" and "never".
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from modelyard.store.append_only import append_only

HEAD = "0003"
"""The newest migration: what a fresh database is stamped with."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts up only INTEGER keys; PostgreSQL's INTEGER would end at two billion.
_ID = BigInteger().with_variant(Integer(), "sqlite")


def _id() -> Column[int]:
    return Column("id", _ID, primary_key=True, autoincrement=True)


def _workspace() -> Column[int]:
    return Column("workspace_id", _ID, ForeignKey("workspaces.id"), nullable=False)


def _time(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _json(name: str) -> Column[object]:
    return Column(name, JSON(none_as_null=True), nullable=False)


workspaces = Table(
    "workspaces",
    metadata,
    _id(),
    Column("name", String(63), nullable=False, unique=True),
    _time("created_ns"),
    sqlite_autoincrement=True,
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("value", Text, nullable=False),
)

models = Table(
    "models",
    metadata,
    _id(),
    _workspace(),
    Column("name", String(63), nullable=False),
    _text("description"),
    _json("tags"),
    Column("last_number", BigInteger, nullable=False, server_default="0"),  # numbers are never given twice, not even after a deletion
    _time("created_ns"),
    UniqueConstraint("workspace_id", "name"),
    UniqueConstraint("workspace_id", "id"),
    sqlite_autoincrement=True,
)

versions = Table(
    "versions",
    metadata,
    _id(),
    _workspace(),
    Column("model_id", _ID, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("format", String(63), nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    _text("entry"),
    _json("signature"),
    _json("profile"),
    _json("metrics"),
    _json("report"),
    _json("card"),
    _json("lineage"),
    _json("tags"),
    _time("created_ns"),
    _text("created_by"),
    ForeignKeyConstraint(["workspace_id", "model_id"], ["models.workspace_id", "models.id"]),
    UniqueConstraint("model_id", "number"),
    UniqueConstraint("workspace_id", "id"),
    sqlite_autoincrement=True,
)

version_files = Table(
    "version_files",
    metadata,
    _workspace(),
    Column("version_id", _ID, primary_key=True),
    Column("role", String(16), primary_key=True),  # artifact | attachment
    Column("path", String(1024), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    ForeignKeyConstraint(["workspace_id", "version_id"], ["versions.workspace_id", "versions.id"], ondelete="CASCADE"),
)

aliases = Table(
    "aliases",
    metadata,
    _workspace(),
    Column("model_id", _ID, primary_key=True),
    Column("alias", String(63), primary_key=True),
    Column("number", BigInteger, nullable=False),
    ForeignKeyConstraint(["workspace_id", "model_id"], ["models.workspace_id", "models.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    _id(),
    _workspace(),
    Column("model_id", _ID, nullable=False),
    Column("alias", String(63), nullable=False),
    Column("number", BigInteger, nullable=False),  # 0: the alias was removed
    _time("time_ns"),
    ForeignKeyConstraint(["workspace_id", "model_id"], ["models.workspace_id", "models.id"], ondelete="CASCADE"),
    Index(None, "model_id", "alias"),
    sqlite_autoincrement=True,
)

datasets = Table(
    "datasets",
    metadata,
    _id(),
    _workspace(),
    Column("name", String(63), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    _text("filename"),
    _json("schema"),
    _time("created_ns"),
    UniqueConstraint("workspace_id", "name", "number"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _workspace(),
    Column("kind", String(63), nullable=False),
    _json("spec"),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    _json("limits"),
    _json("progress"),
    _json("result"),
    _text("error"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("pid", BigInteger, nullable=False, server_default="0"),
    _text("created_by"),
    _time("created_ns"),
    _time("started_ns"),
    _time("ended_ns"),
    Column("cancel_requested", Boolean, nullable=False),
    Index(None, "status", "priority"),
    Index(None, "workspace_id", "id"),
    sqlite_autoincrement=True,
)

deployments = Table(
    "deployments",
    metadata,
    _id(),
    _workspace(),
    Column("name", String(63), nullable=False),
    _json("targets"),
    _json("policy"),
    _time("created_ns"),
    _time("updated_ns"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    UniqueConstraint("workspace_id", "name"),
    sqlite_autoincrement=True,
)

keys = Table(
    "keys",
    metadata,
    _id(),
    _workspace(),
    Column("public_id", String(63), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),
    _text("label"),
    _json("actions"),
    _json("deployments"),
    _text("created_by"),
    _time("created_ns"),
    _time("expires_ns"),
    _time("revoked_ns"),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    metadata,
    _id(),
    _workspace(),
    _time("time_ns"),
    _text("actor"),
    _text("address"),
    _text("request_id"),
    Column("action", String(63), nullable=False),
    _text("subject"),
    _json("before"),
    _json("after"),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "workspace_id", "id"),
    # A fork of the chain is impossible, whatever the isolation level.
    UniqueConstraint("workspace_id", "previous_hash"),
    sqlite_autoincrement=True,
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(64), primary_key=True),
    _workspace(),
    Column("key_id", _ID, nullable=False),
    Column("deployment", String(63), nullable=False),
    Column("status", String(16), nullable=False),
    _text("webhook"),
    _text("error"),
    _json("detail"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _time("created_ns"),
    _time("finished_ns"),
    _time("expires_ns"),
    _time("next_ns"),
    _time("delivered_ns"),
    Index(None, "status", "next_ns"),
    Index(None, "expires_ns"),
    Index(None, "workspace_id", "created_ns"),
)

usage_cursors = Table(
    "usage_cursors",
    metadata,
    Column("boot", String(64), primary_key=True),
    Column("segment", String(120), primary_key=True),
    Column("position", BigInteger, nullable=False),
    _time("updated_ns"),
)


def _usage(name: str) -> Table:
    # No foreign keys: usage outlives what it names, and the journal may name what a restored database lacks.
    dimensions = ("workspace_id", "minute", "key_id", "deployment_id", "version_id")
    sums = ("calls", "cached_calls", "rows", "tokens_in", "tokens_out", "tokens_cached", "queue_us", "compute_us", "bytes_in", "bytes_out")
    return Table(
        name,
        metadata,
        *(Column(dimension, BigInteger, primary_key=True, autoincrement=False) for dimension in dimensions),
        *(Column(dimension, Integer, primary_key=True, autoincrement=False) for dimension in ("protocol", "kind", "status")),
        *(_count(column) for column in sums),
        sqlite_with_rowid=False,  # rows of one time lie together
    )


usage_minutes = _usage("usage_minutes")
usage_hours = _usage("usage_hours")
"""The same by hour; ``minute`` is the first of the hour."""
usage_days = _usage("usage_days")
"""The same by day (UTC)."""

usage_segments = Table(
    "usage_segments",
    metadata,
    # Where an archived record is: the beginnings of the request ids in each segment, and between which numbers those lie.
    Column("segment", String(120), primary_key=True),
    Column("prefix", String(16), primary_key=True),
    _count("first"),
    _count("last"),
    Index(None, "prefix", "first"),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    # No foreign key: a head must be able to outlive the row that it was signed for, to tell that it is gone.
    _id(),
    _workspace(),
    Column("event_id", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    _time("time_ns"),
    Column("signer", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
    Index(None, "workspace_id", "id"),
    sqlite_autoincrement=True,
)

for _table in (audit, audit_heads):
    append_only(_table)

limits = Table(
    "limits",
    metadata,
    _id(),
    _workspace(),
    Column("scope", String(16), nullable=False),  # core.limits.Scope
    Column("subject", String(63), nullable=False),
    Column("measure", String(16), nullable=False),
    Column("window", String(16), nullable=False),
    _count("amount"),
    Column("currency", String(3), nullable=False, server_default=""),
    _text("created_by"),
    _time("created_ns"),
    _time("updated_ns"),
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
    _count("granted"),
    _count("spent"),
    _time("updated_ns"),
)

prices = Table(
    "prices",
    metadata,
    _id(),
    _workspace(),
    Column("deployment", String(63), nullable=False),
    Column("version_id", BigInteger, nullable=False, server_default="0"),
    Column("currency", String(3), nullable=False),
    _count("call"),
    _count("row"),
    _count("tokens_in"),
    _count("tokens_out"),
    _count("tokens_cached"),
    _count("compute_second"),
    _count("explanation"),
    _time("effective_ns"),
    _text("created_by"),
    _time("created_ns"),
    Index(None, "workspace_id", "deployment"),
    sqlite_autoincrement=True,
)

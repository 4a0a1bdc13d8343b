"""What all tables share: their metadata, and the columns that most have."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Integer, MetaData, Text

HEAD = "0016"
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
ID = BigInteger().with_variant(Integer(), "sqlite")


def identity() -> Column[int]:
    """The key that the database counts up."""
    return Column("id", ID, primary_key=True, autoincrement=True)


def workspace() -> Column[int]:
    """The tenant that a row belongs to."""
    return Column("workspace_id", ID, ForeignKey("workspaces.id"), nullable=False)


def time(name: str) -> Column[int]:
    """Nanoseconds since the epoch (UTC), 0 for "not yet" and "never"."""
    return Column(name, BigInteger, nullable=False, server_default="0")


def count(name: str) -> Column[int]:
    """A number of something."""
    return Column(name, BigInteger, nullable=False, server_default="0")


def text(name: str) -> Column[str]:
    """Text of any length, empty by default."""
    return Column(name, Text, nullable=False, server_default="")


def document(name: str) -> Column[object]:
    """Plain data as JSON."""
    return Column(name, JSON(none_as_null=True), nullable=False)

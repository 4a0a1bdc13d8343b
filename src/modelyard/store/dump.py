"""A database as lines of JSON, the same for SQLite and PostgreSQL, whatever its schema: read by reflection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection, Integer, MetaData, Table, delete, func, insert, select, text

from modelyard.core.errors import Conflict

_BATCH = 500
_STAMPS = "alembic_version"
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_NEEDS_BLOBS = frozenset({"version_files", "datasets"})
_OTHER_HASHES = frozenset({"audit", "audit_heads", "certificates", "keys", "passwords", "sessions"})
"""Tables whose digests are of other things than blobs."""


class Digests:
    """Digests that pass by in a dump."""

    def __init__(self) -> None:
        self.mentioned: set[str] = set()
        """Everything in rows that may name blobs and looks like one."""
        self.needed: set[str] = set()
        """Those of files that versions and data sets consist of."""

    def note(self, table: str, row: dict[str, Any], line: bytes) -> None:
        if table not in _OTHER_HASHES:
            self.mentioned.update(found.decode() for found in _DIGEST.findall(line))
        if table in _NEEDS_BLOBS:
            self.needed.add(row["digest"])


def dump(connection: Connection, digests: Digests) -> Iterator[bytes]:
    """Every row as a line ``["table", {"column": value}]``, referred-to tables first."""
    for table in _tables(connection):
        name, keys = str(table.name), list(table.primary_key.columns)
        rows = connection.execution_options(yield_per=_BATCH).execute(select(table).order_by(*keys))
        for row in rows:
            values = {str(column.name): value for column, value in zip(table.columns, row, strict=True)}
            line = msgspec.json.encode([name, values])
            digests.note(name, values, line)
            yield line + b"\n"


def load(connection: Connection, lines: Iterable[bytes]) -> int:
    """Puts a dump into a database whose schema is the dump's and which holds nothing but what ``migrate`` puts there; the rows put.

    Raises Conflict when the database is in use already or the dump does not fit it.
    """
    tables = {str(table.name): table for table in _tables(connection)}
    _clear_fresh(connection, tables)
    batch: list[dict[str, Any]] = []
    count, name = 0, ""
    for line in lines:
        table, values = msgspec.json.decode(line, type=tuple[str, dict[str, Any]])
        if table not in tables:
            raise Conflict(f"The backup has a table {table!r} that its own schema does not have; it is damaged.")
        if batch and (table != name or len(batch) >= _BATCH):
            connection.execute(insert(tables[name]), batch)
            batch = []
        name = table
        batch.append(values)
        count += 1
    if batch:
        connection.execute(insert(tables[name]), batch)
    if connection.dialect.name == "postgresql":
        _continue_sequences(connection, tables.values())
    return count


def _tables(connection: Connection) -> list[Table]:
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != _STAMPS]


def _clear_fresh(connection: Connection, tables: dict[str, Table]) -> None:
    for name, table in tables.items():
        if name != "workspaces" and connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise Conflict("The database holds data already; restore into an empty one.")
    connection.execute(delete(tables["workspaces"]))


def _continue_sequences(connection: Connection, tables: Iterable[Table]) -> None:
    for table in tables:
        if "id" in table.columns and isinstance(table.columns["id"].type, Integer):
            newest = connection.execute(select(func.max(table.columns["id"]))).scalar_one()
            if newest is not None:
                connection.execute(text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :at)"), {"name": table.name, "at": newest})

"""Engines: what each database needs to behave the same."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from modelyard.core.errors import InvalidRequest

BUSY_SECONDS = 15.0
"""How long a transaction waits for another writer."""
WRITER_LOCK = 0x6D6F6465
"""PostgreSQL's advisory lock that makes a writer the only one."""


def create_store_engine(url: str) -> Engine:
    """An engine for ``url`` with what a store relies on: foreign keys, durable commits, one writer at a time.

    Raises InvalidRequest for a URL that names no supported database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidRequest(f"{url!r} is no database URL; use sqlite:///PATH or postgresql://USER@HOST/NAME.") from error
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return _sqlite(parsed.set(drivername="sqlite+pysqlite"))
    if backend in {"postgresql", "postgres"}:
        return _postgresql(parsed.set(drivername="postgresql+psycopg"))
    raise InvalidRequest(
        f"A database of kind {backend!r} without a name cannot be used; use sqlite:///PATH or postgresql://USER@HOST/NAME."
    )


def _options() -> dict[str, Any]:
    return {"json_serializer": _encode, "json_deserializer": msgspec.json.decode}


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}, **_options())
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Without this the driver would begin transactions itself, deferred and only before some statements.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", f"busy_timeout={round(BUSY_SECONDS * 1000)}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("modelyard_mode") == "read"
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reading else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10}, **_options())
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise InvalidRequest("PostgreSQL needs the package psycopg; install it with: pip install 'modelyard[postgres]'") from error

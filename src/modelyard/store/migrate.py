"""Bringing a database to this version's schema.

A fresh database is made from ``tables.metadata`` at once and stamped, because importing Alembic and walking every step takes
longer than a start may; an older one goes through the steps of ``migrations/``. A test proves that both ways end alike.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict
from modelyard.store.tables import HEAD, metadata, workspaces
from modelyard.store.workspaces import DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_ID

MIGRATIONS = Path(__file__).parent / "migrations"
# As Alembic makes it.
_stamps = Table(
    "alembic_version", MetaData(), Column("version_num", String(32)), PrimaryKeyConstraint("version_num", name="alembic_version_pkc")
)


def current(connection: Connection) -> str:
    """The migration that the database is at; empty for a database without any."""
    if not inspect(connection).has_table(_stamps.name):
        return ""
    return connection.execute(select(_stamps.c.version_num)).scalar_one_or_none() or ""


def migrate(connection: Connection, clock: Clock) -> None:
    """Makes or upgrades the schema inside the connection's transaction.

    Raises Conflict for a database that a newer Modelyard has written, or that belongs to something else.
    """
    stamp = current(connection)
    if not stamp:
        _create(connection, clock)
    elif stamp != HEAD:
        upgrade(connection, HEAD)


def _create(connection: Connection, clock: Clock) -> None:
    foreign = set(inspect(connection).get_table_names()).intersection(metadata.tables)
    if foreign:
        raise Conflict(f"The database has tables of another program: {', '.join(sorted(foreign))}; give Modelyard one of its own.")
    metadata.create_all(connection, checkfirst=False)
    _stamps.create(connection, checkfirst=True)
    connection.execute(insert(_stamps).values(version_num=HEAD))
    made = connection.execute(
        insert(workspaces).values(name=DEFAULT_WORKSPACE, created_ns=clock.time_ns()).returning(workspaces.c.id)
    ).scalar_one()
    if made != DEFAULT_WORKSPACE_ID:
        raise Conflict("The database is not empty; give Modelyard one of its own.")


def upgrade(connection: Connection, target: str) -> None:
    """Walks the steps of ``migrations/`` from where the database is to ``target``.

    Raises Conflict when the database is at a step that this version does not know.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    stamp = current(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    for step in (stamp, target):
        if step and step not in known:
            raise Conflict(f"The database is at step {step!r}, which this version of Modelyard does not know; use a newer Modelyard.")
    command.upgrade(config, target)

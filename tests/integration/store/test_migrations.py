"""The steps of ``migrations/`` and the tables of ``tables.py`` make the same database."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from modelyard.core.clock import ManualClock
from modelyard.core.errors import Conflict
from modelyard.core.events import Actor
from modelyard.store import migrate
from modelyard.store.database import Store
from modelyard.store.tables import HEAD, metadata, settings, usage_cursors, usage_segments, workspaces


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def store(url):
    store = Store.open(url, ManualClock())
    yield store
    store.close()


def shape(store):
    """Everything the database says of its schema."""
    with store.engine.connect() as connection:
        found = inspect(connection)
        return {
            name: {
                "columns": [
                    {"name": str(column["name"]), "type": str(column["type"]), "null": column["nullable"], "default": column["default"]}
                    for column in found.get_columns(name)
                ],
                "primary": found.get_pk_constraint(name),
                "foreign": sorted(found.get_foreign_keys(name), key=str),
                "unique": sorted(found.get_unique_constraints(name), key=str),
                "indexes": sorted(found.get_indexes(name), key=str),
            }
            for name in sorted(found.get_table_names())
        }


def test_the_steps_end_where_the_tables_begin(store, url):
    with store.write() as session:
        migrate.upgrade(session.connection, HEAD)
        assert migrate.current(session.connection) == HEAD
    by_steps = shape(store)
    with store.write() as session:
        metadata.drop_all(session.connection)
        session.connection.execute(text("DROP TABLE alembic_version"))
    store.migrate()
    assert shape(store) == by_steps


def test_autogeneration_finds_nothing_to_do(store):
    store.migrate()
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []


def test_a_fresh_database_is_stamped_with_the_newest_step(store):
    store.migrate()
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]
    with store.read() as session:
        assert migrate.current(session.connection) == HEAD


def test_a_newer_database_is_refused_and_left_alone(store):
    store.migrate()
    with store.write() as session:
        session.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="newer Modelyard"):
        store.migrate()
    with store.read() as session:
        assert migrate.current(session.connection) == "9999"


def test_a_database_of_another_program_is_refused(store):
    with store.write() as session:
        session.connection.execute(text("CREATE TABLE models (id INTEGER)"))
    with pytest.raises(Conflict, match="another program"):
        store.migrate()


def test_every_table_knows_its_workspace():
    without = {table.name for table in metadata.tables.values() if "workspace_id" not in table.columns}
    assert without == {workspaces.name, settings.name, usage_cursors.name, usage_segments.name, "passwords", "sessions", "providers"}


def test_a_fresh_sqlite_database_is_ready_without_alembic(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from modelyard.store.database import Store;"
        f"store = Store.open('sqlite:///{tmp_path / 'x.db'}'); store.migrate(); store.migrate(); store.close();"
        "sys.exit('alembic' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_usage_of_before_hours_days_and_months_is_in_them(store):
    columns = "workspace_id, minute, key_id, deployment_id, version_id, protocol, kind, status, calls"
    with store.write() as session:
        migrate.upgrade(session.connection, "0002")
        for minute, calls in ((60, 1), (119, 2), (120, 4), (1440, 8), (31 * 1440, 16)):
            session.connection.execute(text(f"INSERT INTO usage_minutes ({columns}) VALUES (1, {minute}, 1, 1, 1, 1, 1, 2, {calls})"))
        migrate.upgrade(session.connection, HEAD)
        days, february = [(0, 7), (1440, 8), (31 * 1440, 16)], (31 * 1440, 16)
        sums = {"usage_hours": [(60, 3), (120, 4), (1440, 8), february], "usage_days": days, "usage_deployment_days": days}
        for table, expected in (sums | {"usage_months": [(0, 15), february]}).items():
            assert session.connection.execute(text(f"SELECT minute, calls FROM {table} ORDER BY minute")).all() == expected


def test_keys_that_administered_before_there_were_more_rights_hold_them(store):
    with store.write() as session:
        migrate.upgrade(session.connection, "0003")
        session.connection.execute(text("INSERT INTO workspaces (id, name) VALUES (1, 'default')"))
        for name, actions in (("boss", '["admin", "infer"]'), ("web", '["infer"]')):
            row = f"1, '{name}', '{name}', '{actions}', '[]'"
            session.connection.execute(text(f"INSERT INTO keys (workspace_id, public_id, digest, actions, deployments) VALUES ({row})"))
        migrate.upgrade(session.connection, HEAD)
        found = session.keys.list(1)
        (owner,) = {key.principal_id for key in found}
        principal = session.principals.get(owner)
        held = {key.public_id: key.actions for key in found}
    assert held == {"boss": ("admin", "audit", "infer", "manage", "metrics", "self", "trust"), "web": ("infer",)}
    assert (principal.name, principal.kind, principal.admin) == ("administrator", "service", True)


@pytest.mark.parametrize("table", ["audit", "audit_heads"])
@pytest.mark.parametrize("fresh", [True, False])
def test_the_audit_log_cannot_be_changed_however_it_was_made(store, table, fresh):
    if not fresh:
        with store.write() as session:
            migrate.upgrade(session.connection, HEAD)
            session.connection.execute(text("INSERT INTO workspaces (id, name) VALUES (1, 'default')"))
    store.migrate()
    with store.write() as session:
        session.audit.append(Actor(name="ana", workspace_id=1), "a.b", "x")
        session.connection.execute(
            text("INSERT INTO audit_heads (workspace_id, event_id, events, hash, signer, signature) VALUES (1, 1, 1, '', '', '')")
        )
    names = ", ".join(column["name"] for column in inspect(store.engine).get_columns(table))
    for statement in (
        f"UPDATE {table} SET hash = 'x'",
        f"DELETE FROM {table}",
        *(REPLACING if store.engine.dialect.name == "sqlite" else CLEARING),
    ):
        with pytest.raises(Conflict, match=r"does not fit|exists already"), store.write() as session:
            session.connection.execute(text(statement.format(table=table, names=names)))
    with store.read() as session:
        assert session.audit.first_broken(1) == 0
        assert [len(session.audit.list(1)), len(session.audit.heads(1))] == [1, 1]


REPLACING = (
    "INSERT OR REPLACE INTO {table} ({names}) SELECT {names} FROM {table}",
    "REPLACE INTO {table} ({names}) SELECT {names} FROM {table}",
    "INSERT INTO {table} ({names}) SELECT {names} FROM {table} WHERE true ON CONFLICT (id) DO UPDATE SET hash = 'x'",
)
"""SQLite's ways to put a row in the place of another."""
CLEARING = (
    "TRUNCATE {table}",
    "TRUNCATE {table} CASCADE",
    "INSERT INTO {table} ({names}) SELECT {names} FROM {table} ON CONFLICT (id) DO UPDATE SET hash = 'x'",
)
"""PostgreSQL's ways around rows."""


def test_sqlite_replaces_no_row_of_the_audit_log_under_another_number(sqlite_url):
    store = Store.open(sqlite_url, ManualClock())
    store.migrate()
    with store.write() as session:
        session.audit.append(Actor(name="ana", workspace_id=1), "a.b", "x")
    names = [column["name"] for column in inspect(store.engine).get_columns("audit") if column["name"] != "id"]
    with pytest.raises(Conflict), store.write() as session:
        session.connection.execute(
            text(f"INSERT OR REPLACE INTO audit (id, {', '.join(names)}) SELECT id + 100, {', '.join(names)} FROM audit")
        )
    store.close()

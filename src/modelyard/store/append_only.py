"""Tables whose rows the database itself refuses to change or delete, whoever asks."""

from __future__ import annotations

from sqlalchemy import DDL, Table, event

REFUSAL = "is append-only: rows of it are never changed or deleted"
_POSTGRESQL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION modelyard_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' {REFUSAL}', ERRCODE = 'restrict_violation';
END $$"""


def statements(table: str, dialect: str) -> list[str]:
    """What makes ``table`` append-only on ``sqlite`` or ``postgresql``."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} BEGIN SELECT RAISE(ABORT, '{table} {REFUSAL}'); END"
            for verb in ("update", "delete")
        ]
    return [
        _POSTGRESQL_FUNCTION,
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION modelyard_append_only()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION modelyard_append_only()",
    ]


def append_only(table: Table) -> None:
    """Has the table made append-only whenever it is created."""
    for dialect in ("sqlite", "postgresql"):
        for statement in statements(table.name, dialect):
            # DDL has its text formatted with the operator %.
            made = DDL(statement.replace("%", "%%")).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]  # of SQLAlchemy
            event.listen(table, "after_create", made)

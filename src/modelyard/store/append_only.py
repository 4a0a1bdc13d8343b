"""Tables whose rows the database itself refuses to change or delete, whoever asks."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import DDL, Table, UniqueConstraint, event

REFUSAL = "is append-only: rows of it are never changed or deleted"
_POSTGRESQL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION modelyard_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' {REFUSAL}', ERRCODE = 'restrict_violation';
END $$"""


def statements(table: str, dialect: str, unique: Sequence[Sequence[str]]) -> list[str]:
    """What makes ``table`` append-only on ``sqlite`` or ``postgresql``; ``unique`` are the columns of which no two rows are alike."""
    if dialect == "sqlite":
        return [
            *(
                f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} BEGIN SELECT RAISE(ABORT, '{table} {REFUSAL}'); END"
                for verb in ("update", "delete")
            ),
            _no_replace(table, unique),
        ]
    return [
        _POSTGRESQL_FUNCTION,
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION modelyard_append_only()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION modelyard_append_only()",
    ]


def _no_replace(table: str, unique: Sequence[Sequence[str]]) -> str:
    """``INSERT OR REPLACE`` deletes what stands in its way, and SQLite calls no trigger for that."""
    alike = " OR ".join("(" + " AND ".join(f"{column} = NEW.{column}" for column in columns) + ")" for columns in unique)
    when = f"EXISTS (SELECT 1 FROM {table} WHERE {alike})"  # noqa: S608 - names of our own tables and columns
    return f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, '{table} {REFUSAL}'); END"


def append_only(table: Table) -> None:
    """Has the table made append-only whenever it is created."""
    unique = [["id"], *([column.name for column in found.columns] for found in _unique(table))]
    for dialect in ("sqlite", "postgresql"):
        for statement in statements(table.name, dialect, unique):
            # DDL has its text formatted with the operator %.
            made = DDL(statement.replace("%", "%%")).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]  # of SQLAlchemy
            event.listen(table, "after_create", made)


def _unique(table: Table) -> list[UniqueConstraint]:
    found = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    return sorted(found, key=lambda constraint: [column.name for column in constraint.columns])

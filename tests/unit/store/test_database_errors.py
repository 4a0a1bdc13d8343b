"""What the drivers' errors become, with real ones of SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from modelyard.core.errors import Unavailable
from modelyard.store.database import driver_errors


def run(file: Path, *statements: str) -> None:
    engine = create_engine(f"sqlite:///{file}")
    try:
        with driver_errors(), engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    finally:
        engine.dispose()


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="disk is full") as raised:
        run(tmp_path / "small.db", "PRAGMA max_page_count = 3", "CREATE TABLE t (x)", "INSERT INTO t VALUES (zeroblob(100000))")
    assert raised.value.retry_after


def test_a_file_that_is_no_database_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_bytes(b"not a database, for more than a hundred bytes" * 40)
    with pytest.raises(Unavailable, match="restore a backup"):
        run(tmp_path / "junk.db", "CREATE TABLE t (x)")


def test_anything_else_that_the_database_could_not_do_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="try again"):
        run(tmp_path / "fine.db", "SELECT * FROM missing")

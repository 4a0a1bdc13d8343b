"""Reading rows to predict."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cli.rows import AT_ONCE, Records, Table, csv_parts, read_rows, without_others
from modelyard.core.errors import InvalidData


def rows(tmp_path: Path, name: str, content: str | bytes) -> Records | Table:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(str(path))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("r.json", '[{"a": 1}]', [{"a": 1}]),
        ("r.json", '{"records": [{"a": 1}]}', [{"a": 1}]),
        ("r.json", '{"a": 1}', [{"a": 1}]),
        ("r.jsonl", '{"a": 1}\n\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("r.txt", ' [{"a": 1}]', [{"a": 1}]),
    ],
)
def test_json_in_all_its_forms(tmp_path: Path, name: str, content: str, expected: list[object]) -> None:
    assert rows(tmp_path, name, content) == Records(expected)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_with_any_usual_separator(tmp_path: Path, separator: str) -> None:
    text = "\ufeffa, b\n1,x\n,'\n".replace(",", separator)
    assert rows(tmp_path, "r.csv", text) == Table(["a", "b"], [["1", "x"], ["", "'"]])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.csv", "", "empty"),
        ("r.csv", "a,b\n", "no rows"),
        ("r.csv", "a,b\n1\n", "row 2 has 1 cells"),
        ("r.csv", b"a\n\xff\n", "not UTF-8"),
        ("r.csv", 'a\n"x', "as CSV"),
        ("r.json", "{", "not valid JSON"),
        ("r.json", "3", "list of records"),
        ("r.jsonl", "{}\n{", "line 2"),
    ],
)
def test_what_cannot_be_read_says_where(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        rows(tmp_path, name, content)


def test_standard_input_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n1\n")))
    assert read_rows("-") == Table(["a"], [["1"]])


def test_columns_that_the_model_does_not_take_are_left_out() -> None:
    table = Table(["a", "y", "b"], [["1", "2", "3"]])
    assert without_others(table, ["b", "a", "c"]) == (Table(["a", "b"], [["1", "3"]]), ["y"])
    with pytest.raises(InvalidData, match="none of the model's columns"):
        without_others(table, ["z"])


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=5)


@given(st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=5)))
def test_parts_hold_every_cell_as_it_was(table: list[list[str]]) -> None:
    header = [f"c{index}" for index in range(len(table[0]))]
    found = [row for part in csv_parts(Table(header, table)) for row in csv.reader(io.StringIO(part.decode(), newline=""))]
    assert found == [header, *table]


def test_long_tables_go_in_parts() -> None:
    parts = list(csv_parts(Table(["a"], [["1"]] * (AT_ONCE * 2 + 1))))
    assert [part.count(b"\n") - 1 for part in parts] == [AT_ONCE, AT_ONCE, 1]

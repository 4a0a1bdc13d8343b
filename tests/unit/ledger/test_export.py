import csv
import io
import sys

import msgspec
import pytest
from pyarrow import parquet

from modelyard.core.errors import Unsupported
from modelyard.core.usage import UsageRow
from modelyard.ledger.export import ExportFormat, write_usage

DAY_NS = 86_400 * 1_000_000_000
PAGES = [
    [UsageRow(start_ns=DAY_NS, deployment="iris", key="abc", key_label='=HYPERLINK("x"), y', calls=3, rows=2**40)],
    [],
    [UsageRow(start_ns=2 * DAY_NS, deployment="größer", key="-", calls=1)],
]
BY = ("key", "deployment")


def made(kind, pages=PAGES, by=BY):
    file = io.BytesIO()
    write_usage(iter(pages), by, kind, file)
    return file.getvalue()


def test_csv_has_headings_and_what_was_asked_for():
    rows = list(csv.DictReader(io.StringIO(made(ExportFormat.CSV).decode(), newline="")))
    assert [(row["start"], row["deployment"], row["key"], row["calls"], row["rows"]) for row in rows] == [
        ("1970-01-02T00:00:00Z", "iris", "abc", "3", str(2**40)),
        ("1970-01-03T00:00:00Z", "größer", "-", "1", "0"),
    ]
    assert list(rows[0])[:5] == ["start", "deployment", "key", "key_label", "calls"]


def test_a_label_is_no_formula_to_a_spreadsheet():
    (first, _) = csv.DictReader(io.StringIO(made(ExportFormat.CSV).decode(), newline=""))
    assert first["key_label"] == "'" + '=HYPERLINK("x"), y'


def test_csv_of_nothing_still_has_its_headings():
    assert made(ExportFormat.CSV, [], ()).startswith(b"start,calls,")


def test_json_lines_are_one_object_each():
    rows = [msgspec.json.decode(line) for line in made(ExportFormat.JSONL).splitlines()]
    assert [(row["deployment"], row["calls"]) for row in rows] == [("iris", 3), ("größer", 1)]
    assert rows[0]["key_label"] == '=HYPERLINK("x"), y'


def test_parquet_has_types():
    table = parquet.read_table(io.BytesIO(made(ExportFormat.PARQUET)))
    assert table.column("calls").to_pylist() == [3, 1]
    assert str(table.schema.field("start").type) == "timestamp[ms, tz=UTC]"
    assert table.column("start").to_pylist()[0].isoformat() == "1970-01-02T00:00:00+00:00"
    assert parquet.read_table(io.BytesIO(made(ExportFormat.PARQUET, []))).num_rows == 0


def test_parquet_without_its_package_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Unsupported, match=r"modelyard\[data\]"):
        made(ExportFormat.PARQUET)


def test_sums_since_the_beginning_have_no_date():
    whole = [[UsageRow(start_ns=0, calls=3)]]
    assert made(ExportFormat.CSV, whole, ()).splitlines()[1].startswith(b",3,")
    assert msgspec.json.decode(made(ExportFormat.JSONL, whole, ()))["start"] is None
    assert parquet.read_table(io.BytesIO(made(ExportFormat.PARQUET, whole, ()))).column("start").to_pylist() == [None]

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.core.errors import InvalidData
from modelyard.datasets.read import ReadOptions, read_table


@pytest.fixture
def write(tmp_path):
    def _write(columns):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=2)
        return path

    return _write


def test_columns_get_the_types_of_a_text_table(write):
    table = read_table(
        write(
            {
                "i": pa.array([1, None, 3]),
                "f": pa.array([0.5, None, 1.5], pa.float32()),
                "s": ["x", None, "y"],
                "b": [True, False, None],
                "d": [dt.date(2024, 1, 2), None, None],
                "c": pa.array(["u", "v", "u"]).dictionary_encode(),
            }
        )
    )
    np.testing.assert_array_equal(table.column("i").values, [1, np.nan, 3])
    np.testing.assert_array_equal(table.column("f").values, [0.5, np.nan, 1.5])
    assert list(table.column("s").texts()) == ["x", "", "y"]
    assert list(table.column("b").texts()) == ["true", "false", ""]
    assert table.column("d").texts()[0] == "2024-01-02"
    assert list(table.column("c").texts()) == ["u", "v", "u"]
    assert table.source.format == "parquet"


def test_numbers_can_be_kept_as_text(write):
    table = read_table(write({"zip": [501, 90210]}), ReadOptions(texts=frozenset({"zip"})))
    assert list(table.column("zip").texts()) == ["501", "90210"]


def test_lists_are_refused(write):
    with pytest.raises(InvalidData, match="Column 'l' holds list"):
        read_table(write({"l": [[1], [2]]}))


def test_infinite_numbers_are_refused(write):
    with pytest.raises(InvalidData, match="data row 2"):
        read_table(write({"f": [1.0, float("inf")]}))


def test_no_rows_are_refused(write):
    with pytest.raises(InvalidData, match="no data rows"):
        read_table(write({"f": pa.array([], pa.float64())}))


def test_a_truncated_file_is_refused(write, tmp_path):
    content = write({"f": [1.0, 2.0]}).read_bytes()
    cut = tmp_path / "cut.parquet"
    for size in (4, 20, len(content) - 1):
        cut.write_bytes(content[:size])
        with pytest.raises(InvalidData, match="damaged Parquet"):
            read_table(cut)

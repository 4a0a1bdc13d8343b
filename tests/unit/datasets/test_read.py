import csv
import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelyard.core.errors import InvalidData
from modelyard.datasets import read
from modelyard.datasets.read import ReadOptions, read_table
from modelyard.datasets.sniff import is_missing


def table_of(tmp_path, content, name="t.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, ReadOptions(**options))


def test_numbers_and_texts_become_typed_columns(tmp_path):
    table = table_of(tmp_path, "a,b\n1,x\n2.5,y\n,x\n")
    assert table.names == ["a", "b"]
    np.testing.assert_array_equal(table.column("a").values, [1.0, 2.5, np.nan])
    assert table.column("b").categories == ("x", "y")
    assert list(table.column("b").texts()) == ["x", "y", "x"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path, separator):
    table = table_of(tmp_path, separator.join("ab") + "\n" + separator.join("1x") + "\n" + separator.join("2y") + "\n")
    assert table.names == ["a", "b"]
    assert table.source.separator == separator


def test_a_separator_inside_quotes_does_not_split(tmp_path):
    table = table_of(tmp_path, 'a,b\n1,"x, y"\n2,"say ""hi"""\n3,"two\nlines"\n')
    assert list(table.column("b").texts()) == ["x, y", 'say "hi"', "two\nlines"]


@pytest.mark.parametrize(
    ("encoding", "found"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be")],
)
def test_unicode_encodings_are_found(tmp_path, encoding, found):
    table = table_of(tmp_path, "größe,stadt\n1,Köln\n2,Bonn\n".encode(encoding))
    assert table.names == ["größe", "stadt"]
    assert list(table.column("stadt").texts()) == ["Köln", "Bonn"]
    assert table.source.encoding == found


def test_bytes_that_are_not_utf8_are_read_as_windows_1252_and_that_is_said(tmp_path):
    table = table_of(tmp_path, "a,b\n1,Köln €\n2,x\n".encode("cp1252"))
    assert "Köln €" in table.column("b").texts()
    assert table.source.encoding == "cp1252"
    assert "Windows-1252" in table.source.notes[0]


def test_bytes_that_windows_1252_lacks_are_read_as_latin_1(tmp_path):
    table = table_of(tmp_path, b"a,b\n1,x\x81\n2,y\n")
    assert table.source.encoding == "latin-1"


def test_a_told_encoding_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InvalidData, match=r"not utf-8 text .*near byte 6"):
        table_of(tmp_path, b"a,b\n1,\xff\xfe\n", encoding="utf-8")


@pytest.mark.parametrize("encoding", ["nonsense", "base64", "x" * 300])
def test_an_unknown_encoding_is_refused(tmp_path, encoding):
    with pytest.raises(InvalidData, match="no text encoding"):
        table_of(tmp_path, "a,b\n1,2\n", encoding=encoding)


def test_decimal_commas_are_found_where_the_comma_does_not_separate(tmp_path):
    table = table_of(tmp_path, "a;b;c\n1,5;1.5;3\n2,25;2;4\n")
    np.testing.assert_array_equal(table.column("a").values, [1.5, 2.25])
    np.testing.assert_array_equal(table.column("b").values, [1.5, 2.0])
    np.testing.assert_array_equal(table.column("c").values, [3.0, 4.0])


@pytest.mark.parametrize("marker", ["", "NA", "n/a", "N/A", "null", "NULL", "NaN", "nan", "None", "?", "-", " NA "])
def test_usual_markers_mean_missing(tmp_path, marker):
    table = table_of(tmp_path, f"a,b\n1,x\n{marker},{marker}\n3,y\n")
    assert list(table.column("a").missing) == [False, True, False]
    assert list(table.column("b").missing) == [False, True, False]
    assert table.column("b").texts()[1] == ""


def test_own_markers_replace_the_usual_ones(tmp_path):
    table = table_of(tmp_path, "a,b\n1,none\n-999,x\n", missing=("-999",))
    assert list(table.column("a").missing) == [False, True]
    assert list(table.column("b").texts()) == ["none", "x"]


@pytest.mark.parametrize("cell", ["007", "1_000", "0x10", "١٢", "1.2.3", "12a"])
def test_what_is_no_number_keeps_a_column_text(tmp_path, cell):
    table = table_of(tmp_path, f"a,b\n1,x\n{cell},y\n")
    assert set(table.column("a").texts()) == {"1", cell}
    assert repr(cell) in table.column("a").note
    assert "row 2" in table.column("a").note


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999"])
def test_infinite_numbers_are_refused_with_their_row(tmp_path, cell):
    with pytest.raises(InvalidData, match=r"'a' .* data row 2"):
        table_of(tmp_path, f"a,b\n1,x\n{cell},y\n")


def test_a_word_late_in_a_long_file_makes_its_column_text(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "_SAMPLE_CHARACTERS", 64)
    monkeypatch.setattr(read, "_CHUNK", 7)
    rows = "".join(f"{at},{at}.50,{at}\n" for at in range(100))
    table = table_of(tmp_path, "a,b,c\n" + rows + "x,1,2\n")
    assert table.column("a").texts()[0] == "0"
    assert not table.column("a").is_number
    assert table.column("b").values[3] == 3.5
    assert table.column("c").is_number
    assert len(table) == 101


def test_blank_lines_and_a_separator_at_line_ends_do_no_harm(tmp_path):
    table = table_of(tmp_path, "a,b,\n\n1,x,\n\n2,y,\n\n")
    assert table.names == ["a", "b"]
    assert len(table) == 2


def test_excels_separator_line_is_obeyed(tmp_path):
    table = table_of(tmp_path, "sep=;\r\na;b\r\n1;x\r\n2;y\r\n")
    assert table.names == ["a", "b"]
    assert len(table) == 2


def test_a_table_without_header_can_be_read_when_said(tmp_path):
    table = table_of(tmp_path, "5.1,3.5,setosa\n4.9,3.0,virginica\n", header=False)
    assert table.names == ["column_1", "column_2", "column_3"]
    assert len(table) == 2


def test_numbers_can_be_kept_as_text(tmp_path):
    table = table_of(tmp_path, "zip,y\n501,1\n90210,2\n", texts=frozenset({"zip"}))
    assert list(table.column("zip").texts()) == ["501", "90210"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"a,b\n", "no data rows"),
        (b"5.1,3.5,setosa\n4.9,3.0,setosa\n", "looks like data .*add a header row"),
        (b"a,b,c\n1,2,3\n4,5\n6,7,8\n", "Line 3 of t.csv has 2 cells, but the header has 3"),
        (b'a,b\n1,"x\ny"\n\n2,z,w\n', "Line 5 of t.csv has 3 cells"),
        (b"sep=,\na,b\n1,2\n3,4,5\n", "Line 4 of t.csv has 3 cells"),
        (b"a,b,a\n1,2,3\n", "more than one column called 'a'"),
        (b'a,b\n1,"x\n2,y\n', "quotation mark"),
        (b'a,b\n1,"x"y\n', "quotation mark"),
        (b"PK\x03\x04rest", "ZIP or Excel"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (b"a,b\n1,\x00\x00\x01\n", "zero bytes"),
        (b"\xff\xfea\x00,", "not utf-16"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path, content, message):
    with pytest.raises(InvalidData, match=message) as caught:
        table_of(tmp_path, content)
    assert "\n" not in caught.value.message


def test_a_cell_beyond_the_limit_is_refused(tmp_path):
    with pytest.raises(InvalidData, match="field larger than field limit"):
        table_of(tmp_path, "a,b\n1," + "x" * 200_000 + "\n")


@pytest.mark.parametrize("separator", ["ab", '"', "\n"])
def test_a_senseless_separator_is_refused(tmp_path, separator):
    with pytest.raises(InvalidData, match=r"reading\.separator"):
        table_of(tmp_path, "a,b\n1,2\n", separator=separator)


_QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


@settings(max_examples=150, **_QUIET)
@given(content=st.binary(max_size=300))
@example(content=b"a\r0")
@example(content=b'"')
@example(content=b"\xff\xfe\x00\xd8")
@example(content=b'sep="\na\n1\n')
def test_any_bytes_give_a_table_or_invalid_data(tmp_path, content):
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    with suppress(InvalidData):
        assert len({len(column.values) for column in read_table(path)}) == 1


@settings(max_examples=150, **_QUIET)
@given(content=st.text(alphabet=',;"\n\r\t aä10.-N?', max_size=200), header=st.sampled_from([None, True, False]))
def test_any_table_like_text_gives_a_table_or_invalid_data(tmp_path, content, header):
    path = tmp_path / "any.csv"
    path.write_text(content, newline="")
    with suppress(InvalidData):
        read_table(path, ReadOptions(header=header))


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda word: word == word.strip() and not is_missing(word)
)


@settings(max_examples=80, **_QUIET)
@given(
    numbers=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**9), 10**9), min_size=1, max_size=20),
    words=st.lists(_WORDS, min_size=20, max_size=20),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_written_table_reads_back_equal(tmp_path, numbers, words, separator, encoding):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(["number", "word"])
    writer.writerows([["" if number is None else repr(number), word] for number, word in zip(numbers, words, strict=False)])
    path = tmp_path / "round.csv"
    path.write_bytes(out.getvalue().encode(encoding))
    table = read_table(path, ReadOptions(separator=separator, header=True, texts=frozenset({"word"})))
    wanted = [np.nan if number is None else float(number) for number in numbers]
    np.testing.assert_array_equal(table.column("number").values, wanted)
    assert list(table.column("word").texts()) == words[: len(numbers)]

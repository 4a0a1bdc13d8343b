import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelyard.datasets.builders import NumberBuilder, TextBuilder, encode
from modelyard.datasets.sniff import DEFAULT_MISSING

markers = DEFAULT_MISSING


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=10), max_size=8))
def test_numbers_survive_any_chunking(chunks):
    builder = NumberBuilder(markers)
    for chunk in chunks:
        assert builder.add([repr(value) for value in chunk]) is None
    np.testing.assert_array_equal(builder.build("x", "").values, [value for chunk in chunks for value in chunk])


@given(st.lists(st.lists(st.sampled_from(["a", "b ", " b", "", "NA", "c"]), max_size=10), max_size=8))
def test_texts_survive_any_chunking(chunks):
    builder = TextBuilder(markers)
    for chunk in chunks:
        builder.add(chunk)
    wanted = ["" if cell.strip() in {"", "NA"} else cell.strip() for chunk in chunks for cell in chunk]
    assert list(builder.build("x", "").texts()) == wanted


def test_the_first_cell_that_is_no_number_is_pointed_at():
    assert NumberBuilder(markers).add(["1", "NA", "x", "y"]) == 2


def test_decimal_commas_refuse_points():
    assert NumberBuilder(markers, ",").add(["1,5", "2.5"]) == 1


def test_words_that_repeat_or_mean_missing_are_merged():
    column = encode("x", np.array([0, 1, 2, -1, 3], np.int32), ["b", "a", "b", "na"], markers)
    assert column.categories == ("a", "b")
    assert list(column.values) == [1, 0, 1, -1, -1]

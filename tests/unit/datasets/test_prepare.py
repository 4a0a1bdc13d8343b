import numpy as np
import pytest

from modelyard.core.errors import InvalidData
from modelyard.datasets.builders import encode
from modelyard.datasets.prepare import PreparationOptions, fit_preparation
from modelyard.datasets.table import Column, Table


def table_of(numbers, words):
    distinct = sorted({word for word in words if word})
    codes = np.array([distinct.index(word) if word else -1 for word in words], np.int32)
    return Table((Column("n", np.array(numbers, np.float64)), encode("w", codes, distinct, frozenset({""}))))


def test_numbers_are_filled_and_scaled_and_words_get_places():
    table = table_of([1, 3, np.nan, 4], ["a", "b", "a", ""])
    prepared = fit_preparation(table, PreparationOptions())
    matrix = prepared.transform(table)
    assert prepared.feature_names == ["n", "w=", "w=a", "w=b"]
    assert matrix.dtype == np.float32
    filled = np.array([1, 3, 3, 4])
    np.testing.assert_allclose(matrix[:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-6)
    np.testing.assert_array_equal(matrix[:, 1:], [[0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(("fill", "wanted"), [("median", 3.0), ("mean", 8 / 3), ("zero", 0.0)])
def test_the_fill_is_chosen(fill, wanted):
    prepared = fit_preparation(table_of([1, 3, np.nan, 4], "abab"), PreparationOptions(fill=fill, scaling="none"))
    assert prepared.transform(table_of([np.nan], "a"))[0, 0] == pytest.approx(wanted)


def test_minmax_scaling_spans_zero_to_one():
    table = table_of([2, 4, 6], "aab")
    matrix = fit_preparation(table, PreparationOptions(scaling="minmax")).transform(table)
    assert matrix[:, 0].tolist() == [0.0, 0.5, 1.0]


def test_unknown_words_and_words_missing_for_the_first_time_have_no_place():
    prepared = fit_preparation(table_of([1, 2], "ab"), PreparationOptions())
    matrix = prepared.transform(table_of([1, 2, 3], ["never", "", "b"]))
    np.testing.assert_array_equal(matrix[:, 1:], [[0, 0], [0, 0], [0, 1]])


def test_missing_words_can_be_the_most_frequent():
    prepared = fit_preparation(table_of([1, 2, 3, 4], ["b", "b", "a", ""]), PreparationOptions(missing_category="most_frequent"))
    assert prepared.feature_names == ["n", "w=a", "w=b"]
    np.testing.assert_array_equal(prepared.transform(table_of([0], [""]))[:, 1:], [[0, 1]])


def test_only_the_most_frequent_words_get_places():
    prepared = fit_preparation(table_of([1] * 6, "aabbcd"), PreparationOptions(max_categories=2))
    assert prepared.feature_names == ["n", "w=a", "w=b"]


def test_only_the_given_rows_are_learned_from():
    table = table_of([1, 1, 100], "aaz")
    prepared = fit_preparation(table, PreparationOptions(scaling="none"), np.array([0, 1]))
    assert prepared.feature_names == ["n", "w=a"]
    assert prepared.numbers.fill[0] == 1


def test_a_constant_number_is_not_blown_up():
    table = table_of([1e9, 1e9, 1e9], "aba")
    assert np.abs(fit_preparation(table, PreparationOptions()).transform(table)[:, 0]).max() == 0


def test_a_number_beyond_float32_is_refused():
    with pytest.raises(InvalidData, match="data row 2"):
        fit_preparation(table_of([1, 1e300], "ab"), PreparationOptions())

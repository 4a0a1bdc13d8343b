from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.datasets.builders import encode
from modelyard.datasets.profile import profile_column
from modelyard.datasets.table import Column


def test_numbers_have_their_range_and_moments():
    profile = profile_column(Column("x", np.array([1.0, 2.0, 2.0, np.nan])))
    assert (profile.rows, profile.missing, profile.present, profile.distinct) == (4, 1, 3, 2)
    assert (profile.min, profile.max) == (1.0, 2.0)
    assert profile.mean == pytest.approx(5 / 3)
    assert profile.integers
    assert profile.top == (("2", 2), ("1", 1))


def test_texts_have_their_most_frequent_words():
    profile = profile_column(encode("x", np.array([0, 1, 1, -1], np.int32), ["a", "bbb"], frozenset()))
    assert profile.top == (("bbb", 2), ("a", 1))
    assert profile.mean_length == pytest.approx(7 / 3)
    assert profile.missing == 1


def test_a_column_without_values_has_no_range():
    profile = profile_column(Column("x", np.full(3, np.nan)))
    assert profile.distinct == 0
    assert profile.min is None


def test_a_word_among_numbers_is_told_but_not_a_word_among_words():
    codes = np.array([0, 1, 2], np.int32)
    assert profile_column(encode("x", codes, ["1", "2", "oops"], frozenset(), note="told")).note == "told"
    assert profile_column(encode("x", codes, ["a", "b", "1"], frozenset(), note="told")).note == ""


@given(st.lists(st.integers(0, 30), min_size=1, max_size=120))
def test_the_most_frequent_values_come_first_and_the_smaller_of_equally_frequent_ones(numbers):
    counts = Counter(numbers)
    ten = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    found = profile_column(Column("x", np.array(numbers, float)))
    assert found.top == (tuple((str(value), count) for value, count in ten) if len(counts) < len(numbers) else ())
    words = profile_column(encode("x", np.array(numbers, np.int32), [f"{value:02d}" for value in range(31)], frozenset()))
    assert words.top == tuple((f"{value:02d}", count) for value, count in ten)

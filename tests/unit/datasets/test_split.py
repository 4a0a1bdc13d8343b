import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidData
from modelyard.datasets.split import folds, hold_out

classes_of = st.lists(st.integers(0, 4), min_size=10, max_size=80).map(lambda codes: np.array(codes, np.intp))


@given(classes_of, st.floats(0.05, 0.5), st.integers(0, 1000))
def test_every_row_is_on_one_side_and_every_class_of_two_on_both(classes, share, seed):
    counts = np.bincount(classes)
    if counts.max() < 2:
        return
    train, test = hold_out(len(classes), share, seed, classes)
    assert sorted([*train, *test]) == list(range(len(classes)))
    for code in np.flatnonzero(counts >= 2):
        assert code in classes[train]
        assert code in classes[test]


def test_shares_of_classes_are_kept():
    classes = np.repeat([0, 1], [800, 200])
    _, test = hold_out(1000, 0.2, 7, classes)
    assert np.bincount(classes[test]).tolist() == [160, 40]


def test_the_seed_decides():
    assert np.array_equal(hold_out(100, 0.2, 1)[1], hold_out(100, 0.2, 1)[1])
    assert not np.array_equal(hold_out(100, 0.2, 1)[1], hold_out(100, 0.2, 2)[1])


def test_one_row_cannot_be_split():
    with pytest.raises(InvalidData, match="too few"):
        hold_out(1, 0.2, 0)


@given(classes_of, st.integers(2, 10), st.integers(0, 1000))
def test_every_row_is_checked_once_and_classes_are_spread(classes, count, seed):
    made = folds(len(classes), count, seed, classes)
    assert sorted(row for _, check in made for row in check) == list(range(len(classes)))
    for fit, check in made:
        assert not set(fit) & set(check)
        for code in np.unique(classes):
            share = np.sum(classes == code) / count
            assert abs(np.sum(classes[check] == code) - share) < 1


def test_more_folds_than_rows_are_refused():
    with pytest.raises(InvalidData, match="cannot make 5 folds"):
        folds(4, 5, 0)

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelyard.evaluation.slices import FEWEST, mean_slices, slices


def accuracy(right):
    return lambda rows: float(right[rows].mean())


def test_the_part_on_which_a_model_fails_comes_first_with_its_interval():
    random = np.random.default_rng(0)
    place, size = random.choice(["north", "south", ""], 400, p=[0.5, 0.4, 0.1]), random.normal(size=400)
    right = np.where(place == "south", random.random(400) < 0.4, random.random(400) < 0.95)
    found = slices({"place": place.astype(object), "size": size}, accuracy(right), higher_is_better=True)
    worst = found[0]
    assert (worst["column"], worst["value"]) == ("place", "south")
    assert worst["rows"] == int((place == "south").sum())
    assert worst["score"] == right[place == "south"].mean()
    assert worst["low"] < worst["score"] < worst["high"] < 0.6
    assert [entry["score"] for entry in found] == sorted(entry["score"] for entry in found)
    assert {entry["value"] for entry in found if entry["column"] == "place"} == {"north", "south", "(missing)"}
    assert sum(entry["rows"] for entry in found if entry["column"] == "size") == 400
    assert found == slices({"place": place.astype(object), "size": size}, accuracy(right), higher_is_better=True)


def test_errors_are_worst_where_they_are_largest():
    half = np.repeat([0.0, 1.0], 50)
    found = slices({"half": half}, lambda rows: float(half[rows].mean()), higher_is_better=False)
    assert [entry["value"] for entry in found] == ["1", "0"]


@given(st.lists(st.one_of(st.floats(-5, 5), st.just(float("nan"))), min_size=1, max_size=200))
def test_numbers_are_cut_into_parts_that_do_not_overlap(values):
    seen = np.zeros(len(values), int)

    def score(rows):
        if len(np.unique(rows)) == len(rows):  # not a resample
            seen[rows] += 1
        return 1.0

    found = slices({"x": np.array(values)}, score, higher_is_better=True)
    assert all(FEWEST <= entry["rows"] < len(values) for entry in found)
    assert seen.max() <= 1 or len(values) < 2 * FEWEST


def test_what_cannot_be_scored_and_what_is_everybody_is_left_out():
    assert slices({"x": np.repeat([1.0, 2.0], 30)}, lambda _: float("nan"), higher_is_better=True) == []
    assert slices({"x": np.ones(100)}, lambda _: 1.0, higher_is_better=True) == []


def test_neighbours_that_say_the_same_make_a_slice_less_sure_and_unknown_errors_count_nothing():
    errors = np.repeat(np.random.default_rng(0).normal(5, 1, 30), 10)
    half = np.repeat(["a", "b"], 150).astype(object)
    alone, together = (mean_slices({"half": half}, errors, "mae", higher_is_better=False, block=block)["slices"][0] for block in (1, 10))
    assert alone["score"] == together["score"]
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])
    holed = np.where(half == "a", np.nan, errors)
    assert [entry["value"] for entry in mean_slices({"half": half}, holed, "mae", higher_is_better=False)["slices"]] == ["b"]

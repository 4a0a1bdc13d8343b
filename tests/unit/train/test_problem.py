import numpy as np
import pytest

from modelyard.core.errors import InvalidData, InvalidRequest
from modelyard.train.problem import Task


def test_text_is_classified_and_numbers_are_regressed(problem_of):
    species = problem_of(target="species")
    assert species.task is Task.CLASSIFICATION
    assert species.classes == ("Adelie", "Chinstrap", "Gentoo")
    assert species.metric == "f1_macro"
    mass = problem_of(target="body_mass_g")
    assert mass.task is Task.REGRESSION
    assert mass.dropped_rows == 2
    assert mass.metric == "rmse"


def test_few_whole_numbers_are_classes_that_stay_whole(problem_of):
    year = problem_of(target="year")
    assert year.task is Task.CLASSIFICATION
    assert year.class_values().dtype == np.int64
    assert year.class_values().tolist() == [2007, 2008, 2009]
    assert problem_of(target="year", task="regression").task is Task.REGRESSION


def test_numbers_can_be_called_classes(problem_of, write, numbers):
    path = write({"x": numbers, "y": [0.5, 1.5] * 20})
    assert problem_of(path, target="y", task="classification").classes == ("0.5", "1.5")


def test_held_out_rows_and_folds_never_share_a_row(problem_of):
    problem = problem_of(target="species")
    assert not set(problem.train) & set(problem.test)
    for fit, check in problem.folds(4):
        assert not set(fit) & set(check)
        assert not set(problem.test) & {*fit, *check}


def test_columns_can_be_chosen(problem_of):
    assert problem_of(target="species", features={"include": ["sex", "year"]}).features.names == ["sex", "year"]
    left = problem_of(target="species", features={"exclude": ["sex"]})
    assert "sex" not in left.features.names
    assert left.excluded == {"sex": "left out by the recipe"}


def test_columns_that_tell_nothing_are_left_out_with_the_reason(problem_of, write, numbers):
    path = write({"id": range(40), "c": ["k"] * 40, "d": ["2024-01-01", "2024-01-02"] * 20, "x": numbers, "y": ["a", "b"] * 20})
    problem = problem_of(path, target="y")
    assert problem.features.names == ["x"]
    assert set(problem.excluded) == {"id", "c", "d"}


_ROWS = 40
_X = [1, 2, 2, 3] * 10
_BAD = {
    "target absent": ({"x": _X, "specie": ["a", "b"] * 20}, {"target": "species"}, "no target 'species'. Did you mean 'specie'"),
    "one class": ({"x": _X, "y": ["a"] * _ROWS}, {"target": "y"}, "'a' in every row"),
    "constant": ({"x": _X, "y": [3.5] * _ROWS}, {"target": "y"}, "3.5 in every row"),
    "rare class": ({"x": _X, "y": ["a", "b"] * 19 + ["a", "c"]}, {"target": "y"}, "Class 'c' .* one row only"),
    "all missing": ({"x": _X, "e": ["NA"] * _ROWS, "y": ["a", "b"] * 20}, {"target": "y"}, "'e' has no value in any row"),
    "empty target": ({"x": _X, "y": [""] * _ROWS}, {"target": "y"}, "target 'y' has no value"),
    "few rows": ({"x": range(6), "y": ["a", "b"] * 3}, {"target": "y"}, "6 rows with a target; training needs at least 10"),
    "names as classes": ({"x": _X, "y": [f"n{at}" for at in range(_ROWS)]}, {"target": "y"}, "too many for classes"),
    "text regressed": ({"x": _X, "y": ["a", "b"] * 20}, {"target": "y", "task": "regression"}, "holds text"),
    "nothing left": (
        {"id": range(_ROWS), "y": ["a", "b"] * 20},
        {"target": "y"},
        "No column is left to predict 'y' from: id names the row",
    ),
    "lone target": ({"y": ["a", "b"] * 20}, {"target": "y"}, "there is no other column"),
    "output name": ({"label": [0, 1, 2, 5] * 10, "y": ["a", "b"] * 20}, {"target": "y"}, "'label' has the name of a model output"),
    "unknown feature": ({"x": _X, "y": ["a", "b"] * 20}, {"target": "y", "features": {"exclude": ["z"]}}, "no column 'z'"),
    "target too large": ({"x": [1, 2, 2, 3] * 10, "y": [*range(39), 1e300]}, {"target": "y"}, "'y' holds 1e\\+300 in data row 40"),
}


@pytest.mark.parametrize("case", _BAD)
def test_a_table_that_cannot_be_learned_is_refused_in_one_sentence(problem_of, write, case):
    columns, recipe, message = _BAD[case]
    with pytest.raises(InvalidData, match=message) as caught:
        problem_of(write(columns), **recipe)
    assert "\n" not in caught.value.message


def test_a_metric_of_the_other_task_is_refused(problem_of):
    with pytest.raises(InvalidRequest, match="'rmse' does not measure classification"):
        problem_of(target="species", metric="rmse")

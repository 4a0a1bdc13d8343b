import numpy as np
import pytest

from modelyard.core.errors import InvalidRequest
from modelyard.train.recipes.parse import parse_table_recipe
from modelyard.train.selection.evidence import Evidence, shared_information
from modelyard.train.selection.methods import METHODS, choose
from modelyard.train.selection.select import select_features


@pytest.fixture
def made(write):
    """Two columns that decide the class, a copy of one, and five of noise, one of them words."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 300)).round(3)
    noise = {f"n{at}": random.normal(size=300).round(3) for at in range(4)}
    return write(
        {
            "n0": noise["n0"],
            "a": a,
            "n1": noise["n1"],
            "copy": (a * 2 + 1).round(3),
            "word": random.choice(["x", "y", "z"], 300),
            "b": b,
            "n2": noise["n2"],
            "n3": noise["n3"],
            "y": np.where(a + b + random.normal(size=300) * 0.2 > 0, "yes", "no"),
            "q": (a - b).round(3),
        }
    )


@pytest.mark.parametrize("method", [name for name in METHODS if name != "quantum"])
@pytest.mark.parametrize("target", ["y", "q"])
def test_every_method_finds_what_matters(made, problem_of, method, target):
    exclude = "q" if target == "y" else "y"
    recipe = {"target": target, "features": {"exclude": [exclude]}}
    problem = problem_of(made, **recipe)
    kept = choose(method, problem, parse_table_recipe(recipe), problem.train, 3)
    names = {problem.features.names[at] for at in kept}
    assert len(names) == 3
    assert "b" in names
    assert names & {"a", "copy"}
    if method == "qubo":
        assert not {"a", "copy"} <= names


def test_the_comparison_chooses_within_folds_and_the_rest_is_left_out(made, problem_of):
    recipe = {"target": "y", "features": {"exclude": ["q"], "select": "compare", "keep": 2}, "folds": 3}
    problem = problem_of(made, **recipe)
    selection = select_features(problem, parse_table_recipe(recipe), lambda *_: None)
    board = {row["method"]: row for row in selection.report["comparison"]}
    assert set(board) == {"all", "mutual_information", "information_gain", "chi2", "recursive", "permutation", "qubo"}
    assert max(row["mean"] for row in board.values()) > 0.9
    assert all(0 < row["stability"] <= 1 for row in board.values())
    assert len(selection.problem.features.names) == 2
    assert set(selection.problem.excluded) == {"q", *selection.report["left_out"]}
    assert set(selection.report["kept"]) == set(selection.problem.features.names)


def test_held_out_rows_take_no_part(made, problem_of):
    recipe = parse_table_recipe({"target": "y", "features": {"select": "information_gain", "keep": 2}})
    problem = problem_of(made, target="y", features={"select": "information_gain", "keep": 2})
    before = select_features(problem, recipe, lambda *_: None).report
    for column in problem.features:
        if column.is_number:
            column.values[problem.test] = 1e3
    assert select_features(problem, recipe, lambda *_: None).report == before


def test_too_many_are_refused(made, problem_of):
    problem = problem_of(made, target="y")
    with pytest.raises(InvalidRequest, match=r"features\.keep is 50, and there are 9"):
        select_features(problem, parse_table_recipe({"target": "y", "features": {"select": "chi2", "keep": 50}}), lambda *_: None)


def test_information_is_shared_fully_by_equals_and_not_by_strangers(made, problem_of):
    problem = problem_of(made, target="y")
    columns = dict(zip(problem.features.names, Evidence.of(problem, problem.train).columns, strict=True))
    assert shared_information(columns["a"], columns["copy"]) > 2.0
    assert shared_information(columns["a"], columns["word"]) < 0.15

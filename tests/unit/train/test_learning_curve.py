from types import SimpleNamespace

import numpy as np
import pytest

from modelyard.train import learning_curve as module
from modelyard.train.learning_curve import learning_curve
from modelyard.train.model import fit_model, prepare_rows
from modelyard.train.recipes.parse import parse_table_recipe
from modelyard.train.search import Search


@pytest.fixture
def searched(problem_of, monkeypatch):
    """A search and its best family; time does not matter unless a test says so."""
    monkeypatch.setattr(module, "_SECONDS", 600.0)

    def _searched(*path, **recipe):
        search = Search(problem_of(*path, **recipe), parse_table_recipe(recipe), lambda *_: None)
        return search, search.run()[0]

    return _searched


@pytest.fixture
def learnt(monkeypatch):
    """The rows that are prepared, and the targets that are learnt, from now on."""
    rows, targets = [], []
    monkeypatch.setattr(module, "prepare_rows", lambda *given: rows.append(given[-1]) or prepare_rows(*given))
    monkeypatch.setattr(module, "fit_model", lambda *given: targets.append(given[-1].target) or fit_model(*given))
    return rows, targets


def test_it_tells_what_more_rows_bring(searched, learnt):
    search, best = searched(target="species", families=["logistic"], folds=4, budget={"trials": 1})
    curve = learning_curve(search, best)
    assert [point["rows"] for point in curve] == [21, 52, 103, 206]
    assert [point["folds"] for point in curve] == [4] * 4
    assert (curve[-1]["mean"], curve[-1]["std"]) == pytest.approx((best.mean, best.std))
    assert 0.5 < curve[0]["mean"] < curve[-1]["mean"]
    rows, _ = learnt
    assert len(rows) == 12
    for part in rows:
        assert set(search.problem.test).isdisjoint(part)
        assert any(set(part) <= set(fit) for fit, _ in search.folds)
    assert learning_curve(search, best) == curve


def test_it_is_left_out_where_it_would_take_long(searched, learnt, monkeypatch):
    search, best = searched(target="body_mass_g", families=["ridge"], budget={"trials": 1})
    monkeypatch.setattr(module, "_SECONDS", 0.0)
    search.seconds = 1000.0  # of which 50 are allowed
    best.fit_seconds, best.check_seconds = 0.0, 20.0  # as neighbours, which are nothing to fit and long to ask
    assert learning_curve(search, best) == []
    best.fit_seconds, best.check_seconds = 60.0, 0.0
    assert learning_curve(search, best) == []
    assert learnt == ([], [])
    best.fit_seconds = 50.0
    assert len(learning_curve(search, best)) == 4


def test_it_is_left_out_when_the_time_budget_is_spent(searched, learnt):
    search, best = searched(target="body_mass_g", families=["ridge"], budget={"trials": 1, "seconds": 600})
    search._ends = 0.0
    assert learning_curve(search, best) == []
    assert learnt == ([], [])


def test_all_points_rest_on_the_folds_that_there_was_time_for(searched, monkeypatch):
    search, best = searched(target="body_mass_g", families=["ridge"], folds=5, budget={"trials": 1})
    now = iter([0.0, 0.0, 200.0, 450.0])  # at the beginning and before each fold; 600 are allowed
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now)))
    curve = learning_curve(search, best)
    first = [*best.fold_scores][:2]
    assert [point["folds"] for point in curve] == [2] * 4
    assert curve[-1]["mean"] == pytest.approx(np.mean([best.fold_scores[at] for at in first]))


def test_parts_that_are_too_small_or_lack_a_class_are_not_learnt_from(searched, learnt, write):
    kinds = ["rare" if n % 20 == 0 else "often" if n % 2 else "half" for n in range(200)]
    path = write({"x": [n % 37 / 7 for n in range(200)], "y": kinds})
    search, best = searched(path, target="y", families=["tree"], folds=2, budget={"trials": 1})
    curve = learning_curve(search, best)
    rows, targets = learnt
    drawn = [search.problem.values[np.sort(np.random.default_rng(at).permutation(fit)[:20])] for at, (fit, _) in enumerate(search.folds)]
    assert any(len(set(part)) < 3 for part in drawn), "a quarter lacks a class in some fold, or this test says nothing"
    assert all(len(part) >= 20 for part in rows)
    assert all(len(set(target)) == 3 for target in targets)
    assert [point["rows"] for point in curve] == [40, 80]


def test_quantities_too_need_twenty_rows(searched):
    search, best = searched(target="body_mass_g", families=["ridge"], folds=3, budget={"trials": 1})
    assert len(search.folds[0][0]) // 10 < 20
    assert [point["rows"] for point in learning_curve(search, best)] == [46, 92, 183]


def test_what_fails_in_one_fold_is_no_point(searched, monkeypatch):
    search, best = searched(target="species", families=["logistic"], folds=2, budget={"trials": 1})
    assert [point["rows"] for point in learning_curve(search, best)] == [34, 68, 138]
    failing = iter([False, True])

    def fit(trainer, settings, shape, prepared):
        if shape.rows < 60 and next(failing):
            raise ValueError("more rows, please")
        return fit_model(trainer, settings, shape, prepared)

    monkeypatch.setattr(module, "fit_model", fit)
    assert [point["rows"] for point in learning_curve(search, best)] == [68, 138]

import pytest

from modelyard.core.errors import InvalidRequest, JobFailed, NotFound, TooLarge
from modelyard.train import search as module
from modelyard.train.model import prepare_rows
from modelyard.train.recipes.parse import parse_table_recipe as parse_recipe
from modelyard.train.search import Search, Standing


@pytest.fixture
def search_of(problem_of):
    def _search(report=lambda *_: None, **recipe):
        return Search(problem_of(**recipe), parse_recipe(recipe), report)

    return _search


def test_families_are_ranked_by_the_metric(search_of):
    told = []
    search = search_of(lambda *step: told.append(step), target="species", families=["tree", "logistic", "knn"], budget={"trials": 1})
    standings = search.run()
    means = [standing.mean for standing in standings]
    assert means == sorted(means, reverse=True)
    assert {standing.status for standing in standings} == {"ranked"}
    assert [fraction for _, fraction, _ in told] == sorted(fraction for _, fraction, _ in told)
    assert told[-1][1] == 1.0


def test_smaller_errors_rank_first(search_of):
    standings = search_of(target="body_mass_g", families=["tree", "ridge"], metric="mae", budget={"trials": 1}).run()
    assert standings[0].mean < standings[1].mean


def test_the_seed_decides(search_of):
    recipe = {"target": "species", "families": ["forest"], "budget": {"trials": 1}, "folds": 2}
    first, second = search_of(**recipe, seed=1).run(), search_of(**recipe, seed=1).run()
    assert first[0].mean == second[0].mean
    assert first[0].mean != search_of(**recipe, seed=2).run()[0].mean


def test_a_family_that_fails_is_told_and_the_others_go_on(search_of, monkeypatch):
    original = module.fit_model

    def fit(trainer, *rest):
        if trainer.title == "Decision tree":
            raise ValueError("no trees today")
        return original(trainer, *rest)

    monkeypatch.setattr(module, "fit_model", fit)
    standings = search_of(target="species", families=["tree", "logistic"]).run()
    assert [(standing.family, standing.status) for standing in standings] == [("logistic", "ranked"), ("tree", "failed")]
    assert "no trees today" in standings[1].note


def test_when_all_families_fail_the_job_fails(search_of, monkeypatch):
    def fit(*_):
        raise ValueError("nothing today")

    monkeypatch.setattr(module, "fit_model", fit)
    with pytest.raises(JobFailed, match="nothing today"):
        search_of(target="species", families=["tree"]).run()


def test_a_spent_time_budget_still_tries_one_family(search_of):
    standings = search_of(target="species", families=["logistic", "tree"], budget={"seconds": 1e-9}).run()
    assert [(standing.family, standing.status) for standing in standings] == [("logistic", "ranked"), ("tree", "skipped")]
    assert "time budget" in standings[0].note


def test_families_of_the_other_task_are_refused_when_named(search_of):
    with pytest.raises(InvalidRequest, match="'lasso' does not do classification; these do: logistic"):
        search_of(target="species", families=["lasso"]).run()


def test_an_unknown_family_suggests_the_nearest(search_of):
    with pytest.raises(NotFound, match="Did you mean 'forest'"):
        search_of(target="species", families=["forrest"]).run()


def test_a_reluctant_family_is_skipped_unless_named(search_of, monkeypatch):
    monkeypatch.setattr("modelyard.train.trainers.svm._MOST_ROWS", 10)
    search = search_of(target="species", budget={"trials": 1, "seconds": 1e-9})
    assert "its time grows" in search._candidates("svm", module.FAMILIES.get("svm"))
    named = search_of(target="species", families=["svm"])
    assert len(named._candidates("svm", module.FAMILIES.get("svm"))) == 2


def test_a_table_over_the_memory_budget_is_refused(search_of, monkeypatch):
    monkeypatch.setattr(Search, "_kept_folds", 10**6)
    with pytest.raises(TooLarge, match=r"budget\.memory_megabytes"):
        search_of(target="species", budget={"memory_megabytes": 64})


def test_large_tables_are_prepared_fold_by_fold(search_of, monkeypatch):
    recipe = {"target": "species", "families": ["logistic"], "folds": 3, "budget": {"trials": 2}}
    kept = search_of(**recipe).run()[0].mean
    made = []
    monkeypatch.setattr(module, "_CACHE_BYTES", 1)
    monkeypatch.setattr(module, "prepare_rows", lambda *given: made.append(prepare_rows(*given)) or made[-1])
    search = search_of(**recipe)
    assert search.run()[0].mean == kept
    assert not search._prepared, "nothing is kept while the winner is fitted"
    assert len(made) == 5, "the second trial begins with the fold that the first ended with"


def test_a_learning_curve_tells_what_more_rows_bring(search_of, monkeypatch):
    search = search_of(target="species", families=["logistic"], folds=4, budget={"trials": 1})
    best = search.run()[0]
    learnt = []
    monkeypatch.setattr(module, "prepare_rows", lambda *given: learnt.append(given[-1]) or prepare_rows(*given))
    curve = search.learning_curve(best)
    assert [point["rows"] for point in curve] == [21, 52, 103, 206]
    assert [point["folds"] for point in curve] == [4] * 4
    assert (curve[-1]["mean"], curve[-1]["std"]) == (best.mean, best.std)
    assert 0.5 < curve[0]["mean"] < curve[-1]["mean"]
    assert len(learnt) == 12
    held_out = set(search.problem.test)
    for rows in learnt:
        assert held_out.isdisjoint(rows)
        assert any(set(rows) <= set(fit) for fit, _ in search._folds)
    assert search.learning_curve(best) == curve


def test_a_learning_curve_that_would_take_long_is_left_out(search_of, monkeypatch):
    search = search_of(target="body_mass_g", families=["ridge"], budget={"trials": 1})
    best = search.run()[0]
    monkeypatch.setattr(module, "_CURVE_SECONDS", 0.0)
    best.fit_seconds = search._seconds
    assert search.learning_curve(best) == []
    monkeypatch.setattr(module, "_CURVE_SECONDS", 60.0)
    assert len(search.learning_curve(best)) == 4
    search._ends = 0.0
    assert search.learning_curve(best) == []


def test_parts_that_are_too_small_or_lack_a_class_are_not_learnt_from(problem_of, write, monkeypatch):
    kinds = ["rare" if n % 50 == 0 else "often" if n % 2 else "half" for n in range(200)]
    path = write({"x": [n % 37 / 7 for n in range(200)], "y": kinds})
    recipe = {"target": "y", "families": ["tree"], "folds": 2, "budget": {"trials": 1}}
    search = Search(problem_of(path, **recipe), parse_recipe(recipe), lambda *_: None)
    best, targets = search.run()[0], []
    original = module.fit_model
    monkeypatch.setattr(module, "fit_model", lambda *given: targets.append(given[-1].target) or original(*given))
    search.learning_curve(best)
    assert all(len(target) >= 20 and len(set(target)) == 3 for target in targets)
    assert len(targets) < 6


def test_the_log_tells_a_family_in_words():
    ranked = Standing("tree", "Decision tree", "ranked", "f1_macro", {"max_depth": 3}, mean=0.5, std=0.25, fit_seconds=0.01, trials=2)
    assert str(ranked) == "Decision tree: f1_macro 0.5000 ± 0.2500, best of 2 with max_depth=3, 0.0100 s a fit"
    assert (
        str(Standing("svm", "Support vectors", "skipped", "f1_macro", {}, note="too many rows"))
        == "Support vectors: skipped, too many rows"
    )

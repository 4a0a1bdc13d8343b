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


def test_the_log_tells_a_family_in_words():
    ranked = Standing("tree", "Decision tree", "ranked", "f1_macro", {"max_depth": 3}, mean=0.5, std=0.25, fit_seconds=0.01, trials=2)
    assert str(ranked) == "Decision tree: f1_macro 0.5000 ± 0.2500, best of 2 with max_depth=3, 0.0100 s a fit"
    assert (
        str(Standing("svm", "Support vectors", "skipped", "f1_macro", {}, note="too many rows"))
        == "Support vectors: skipped, too many rows"
    )

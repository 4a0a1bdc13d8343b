"""Search over recipes: what is suggested, what is refused, and a whole search in processes of its own."""

import json
from pathlib import Path

import pytest

from digits import write_archive
from job_context import JobContext, quick_pictures  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidRequest, JobFailed
from modelyard.train.job import run
from modelyard.train.recipes.parse import parse_recipe
from modelyard.train.recipes.search import SearchPlan
from modelyard.train.tuning.journal import give_up, open_study, row_of
from modelyard.train.tuning.space import check_space, suggest, varied
from modelyard.train.tuning.worker import begin

PENGUINS = Path(__file__).parents[3] / "examples/data/penguins.csv"


@pytest.fixture
def train(tmp_path):
    def _train(path, **recipe):
        context = JobContext({"recipe": recipe, "dataset": {"filename": path.name}}, tmp_path / "job", {"data": path})
        context.folder.mkdir(exist_ok=True)
        context.result = run(context)
        return context

    return _train


class Low:
    """A trial that takes the first of everything."""

    def suggest_float(self, name, low, high, *, log=False):
        return low

    suggest_int = suggest_float

    def suggest_categorical(self, name, choices):
        return choices[0]


def test_values_are_laid_over_the_recipe_and_the_search_is_gone():
    recipe = parse_recipe(
        {
            "target": "y",
            "settings": {"forest": {"max_depth": 3}},
            "search": {
                "space": {
                    "family": ["tree", "forest"],
                    "settings.tree.max_depth": {"low": 2, "high": 9},
                    "preparation.fill": ["mean", "zero"],
                }
            },
        }
    )
    values = suggest(Low(), recipe.search)
    assert values == {"family": "tree", "settings.tree.max_depth": 2, "preparation.fill": "mean"}
    made = varied(recipe, values)
    assert made.families == ("tree",)
    assert made.settings == {"tree": {"max_depth": 2}}
    assert made.preparation.fill == "mean"
    assert made.search is None


@pytest.mark.parametrize(
    ("kind", "space", "message"),
    [
        ({"target": "y"}, {"seed": [1, 2]}, "'seed' cannot be searched"),
        ({"target": "y"}, {"test_size": {"low": 0.1, "high": 0.2}}, "'test_size' cannot be searched"),
        ({"kind": "images"}, {"learning.epoch": [1, 2]}, "unknown field 'learning.epoch'"),
        ({"kind": "images"}, {"network.dropout": {"low": 0.0, "high": 2.0}}, "network.dropout"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(kind, space, message):
    recipe = parse_recipe(kind | {"search": {"space": space}})
    with pytest.raises(InvalidRequest, match=message):
        check_space(recipe, recipe.search)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space"),
        ({"a": {"low": 2, "high": 1}}, "low must be below high"),
        ({"a": {"low": 0, "high": 1, "log": True}}, "above 0"),
        ({"a": [1]}, "space"),
    ],
)
def test_a_space_must_leave_a_choice(space, message):
    with pytest.raises(InvalidRequest, match=message):
        parse_recipe({"target": "y", "search": {"space": space}})


def test_trials_in_the_making_count_and_those_of_a_lost_process_or_attempt_are_nobodys(tmp_path):
    plan = SearchPlan.model_validate({"space": {"a": {"low": 0.0, "high": 1.0}}, "trials": 4})
    study, other = (open_study(tmp_path / "search.journal", plan, 0, number) for number in range(2))
    assert begin(study, plan, "earlier", 0) is not None, "and nobody ends it"
    ended = begin(study, plan, "now", 0)
    study.tell(ended, 1.0)
    begun = [begin(other, plan, "now", 1), begin(study, plan, "now", 0), begin(other, plan, "now", 2)]
    assert all(trial is not None for trial in begun)
    assert begin(study, plan, "now", 0) is None
    give_up(study, "now", 2)
    states = [trial.state.name for trial in other.get_trials()]
    assert states == ["RUNNING", "COMPLETE", "RUNNING", "RUNNING", "FAIL"]
    assert "its process ended" in row_of(other.get_trials()[-1])["note"]
    assert begin(other, plan, "now", 1) is None, "a trial that failed has been tried"


@pytest.mark.timeout(300)
def test_a_search_over_images_ends_with_the_best_recipe_judged_once_on_held_out_images(train, tmp_path):
    made = train(
        write_archive(tmp_path / "digits.zip", 300),
        kind="images",
        network={"kind": "feedforward", "width": 4, "depth": 1},
        learning={"epochs": 4, "batch_size": 32},
        search={"trials": 6, "parallel": 2, "space": {"learning.optimizer.learning_rate": {"low": 1e-5, "high": 0.05, "log": True}}},
    )
    search = made.result["report"]["search"]
    assert sum(search["trials"].values()) == 6
    attachments = made.folder / "output/attachments"
    trials = json.loads((attachments / "trials.json").read_text())
    best = min((row for row in trials if row["status"] == "complete"), key=lambda row: row["value"])
    assert search["best"]["values"] == best["values"]
    recipe = parse_recipe((attachments / "recipe.yaml").read_text())
    assert recipe.learning.optimizer.learning_rate == pytest.approx(best["values"]["learning.optimizer.learning_rate"])
    history = made.result["report"]["training"]["history"]
    assert min(entry["validation_loss"] for entry in history) == pytest.approx(best["value"], rel=1e-4)
    for name in ("search_curves", "search_coordinates", "search_importance"):
        assert (attachments / f"{name}.svg").read_bytes().startswith(b"<?xml")
    fractions = [fraction for _, fraction, _ in made.told]
    assert fractions == sorted(fractions)


@pytest.mark.timeout(300)
def test_a_search_goes_on_with_the_trials_that_an_earlier_attempt_ended(train, tmp_path):
    space = {"settings.tree.max_depth": {"low": 1, "high": 8}}
    (tmp_path / "job/state").mkdir(parents=True)
    earlier = open_study(tmp_path / "job/state/search.journal", SearchPlan.model_validate({"space": space}), 0)
    for depth in (1, 2, 3):
        trial = earlier.ask()
        trial.suggest_int("settings.tree.max_depth", 1, 8)
        trial.set_user_attr("values", {"settings.tree.max_depth": depth})
        trial.set_user_attr("facts", {})
        earlier.tell(trial, -0.1 * depth)
    made = train(PENGUINS, target="species", families=["tree"], folds=2, search={"trials": 5, "parallel": 1, "space": space})
    search = made.result["report"]["search"]
    assert search["trials"] == {"complete": 5, "pruned": 0, "fail": 0}
    assert search["best"]["metric"] == "f1_macro"
    assert made.result["metrics"]["accuracy"] > 0.7


@pytest.mark.timeout(300)
def test_trials_that_all_fail_are_one_sentence(train):
    with pytest.raises(JobFailed, match="None of 2 trials"):
        train(
            PENGUINS,
            target="species",
            families=["logistic"],
            features={"keep": 500, "select": "chi2"},
            search={"trials": 2, "parallel": 1, "space": {"settings.logistic.C": [0.1, 1.0]}},
        )

"""Trainings on texts in this process: from the file to the artifact that is served."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from job_context import JobContext, quick_pictures  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidData, InvalidRequest
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.hf_onnx import RUNTIME
from modelyard.train.job import run
from modelyard.train.networks.architectures.bags import Bag
from modelyard.train.networks.architectures.texts import TextNet
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.lesson import Site, learn
from modelyard.train.networks.text_artifact import answers, prove_texts, settings_for, write_text_model
from modelyard.train.networks.text_data import TextExamples, learn_tokens, objective_for, pose_texts
from modelyard.train.networks.text_job import lesson_for
from modelyard.train.recipes.learning import Optimizer
from modelyard.train.recipes.parse import parse_recipe, parse_text_recipe
from modelyard.train.tuning.trials import open_judge

pytestmark = pytest.mark.timeout(300)
NOVELS = Path(__file__).parents[4] / "examples/data/novels.csv"
QUICK = {
    "kind": "text",
    "target": "novel",
    "tokens": {"vocabulary": 1_000, "longest": 32},
    "network": {"kind": "gru", "width": 8, "dropout": 0.0},
    "learning": {"epochs": 2, "batch_size": 32, "optimizer": {"learning_rate": 0.01}},
}


def trained(folder, path, recipe):
    context = JobContext({"recipe": recipe, "dataset": {"filename": path.name}}, folder, {"data": path})
    context.result = run(context)
    return context


@pytest.fixture(scope="module")
def novels(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("job"), NOVELS, QUICK)


def posed(path, **change):
    return pose_texts(path, path.name, parse_text_recipe(QUICK | change))


@pytest.fixture
def table(tmp_path):
    def _table(*rows, header=("text", "novel")):
        path = tmp_path / "texts.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return _table


def test_what_is_served_answers_raw_texts_as_the_trainer_did(novels):
    report = novels.result["report"]
    assert report["proof"]["holds"]
    assert novels.result["format"] == "hf_onnx"
    problem = posed(NOVELS)
    rows = list(csv.DictReader((novels.attachments / "held_out.csv").read_text().splitlines()))
    model = RUNTIME.load(novels.folder / "output/artifact", "model.onnx", LoadOptions(threads=1))
    try:
        found = model.infer({"text": np.array(problem.of(problem.test), object)})
        empty = model.infer({"text": np.array(["", " ", "\u2603 \U0001f600", "x" * 10_000], object)})
    finally:
        model.close()
    assert found["label"].tolist() == [row["predicted"] for row in rows]
    wanted = [[float(row[f"p({name})"]) for name in problem.classes] for row in rows]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-4)
    np.testing.assert_allclose(empty["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert empty["tokens"].tolist()[-1] == 32


def test_a_classifier_is_measured_beside_counted_words(novels):
    evaluation, metrics = novels.result["report"]["evaluation"], novels.result["metrics"]
    assert [row["method"] for row in evaluation["baselines"]] == ["most frequent class", "counted words"]
    for name, ends in evaluation["intervals"].items():
        assert ends["low"] <= metrics[name] <= ends["high"]
    gain = evaluation["improvement"]
    assert gain["value"] == pytest.approx(metrics["accuracy"] - evaluation["baselines"][1]["accuracy"])
    assert gain["low"] <= gain["value"] <= gain["high"]
    assert "words of the text" in {entry["column"] for entry in evaluation["slices"]["slices"]}
    mistake = evaluation["mistakes"][0]
    assert mistake["true"] != mistake["predicted"]
    assert all((novels.attachments / f"{name}.png").stat().st_size for name in novels.result["report"]["plots"])


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_padding_changes_nothing_in_any_network(kind, tmp_path):
    problem = posed(NOVELS, network={"kind": kind, "width": 8, "depth": 2, "heads": 2})
    tokenizer = learn_tokens(problem.of(problem.train), problem.recipe.tokens)
    torch.manual_seed(1)
    net = TextNet(problem.recipe.network, tokenizer.get_vocab_size(), 32, 3).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    examples = TextExamples(problem, problem.test, tokenizer)
    predicted = answers(net, examples)
    alone = np.concatenate([torch.softmax(net(*examples.batch(np.array([at]), None)[0]), 1).detach().numpy() for at in range(20)])
    np.testing.assert_allclose(alone, predicted[:20], atol=1e-5)
    write_text_model(net, tokenizer, settings_for(problem, 32), tmp_path)
    proof = prove_texts(tmp_path, problem, predicted)
    assert proof.holds, proof.reason


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """By the defaults."""
    return trained(tmp_path_factory.mktemp("bag"), NOVELS, {"kind": "text", "target": "novel"})


def test_the_default_learns_from_a_few_hundred_texts_as_well_as_counted_words(counted):
    report, metrics = counted.result["report"], counted.result["metrics"]
    words = next(row for row in report["evaluation"]["baselines"] if row["method"] == "counted words")
    assert metrics["accuracy"] > words["accuracy"] - 0.03
    assert report["family"] == "bag"
    assert report["proof"]["holds"]


def test_how_it_learns_is_chosen_for_the_kind_of_network():
    def optimizer(**fields):
        recipe = parse_text_recipe({"kind": "text", "target": "novel"} | fields)
        assert parse_text_recipe(recipe.to_yaml()) == recipe
        return recipe.learning.epochs, recipe.learning.optimizer

    assert optimizer() == (20, Optimizer(kind="sgd", learning_rate=2.0, l2=1e-4))
    assert optimizer(network={"kind": "gru"}) == (20, Optimizer(learning_rate=3e-3))
    assert optimizer(network={"kind": "gru"}, learning={"epochs": 3, "optimizer": {"l2": 0.5}}) == (
        3,
        Optimizer(learning_rate=3e-3, l2=0.5),
    )
    assert optimizer(learning={"optimizer": {"kind": "adam", "learning_rate": 0.01}})[1] == Optimizer(kind="adam", learning_rate=0.01)
    assert optimizer(learning={"optimizer": {"learning_rate": 0.5}})[1].kind == "sgd"


def test_texts_of_one_token_have_no_pair_and_padding_counts_nothing():
    bag = Bag(20, 64, 3, 0.5)
    bag.weigh([np.array([1, 4, 5]), np.array([1, 4, 6, 7])])
    assert bag.rarity[4] == bag.rarity.min() == 1.0  # in every text
    assert bag.rarity[5] < bag.rarity[9]
    for table in (bag.words, bag.pairs):
        torch.nn.init.normal_(table.weight)
    bag.eval()
    ids, mask = torch.tensor([[1, 0, 0], [1, 4, 0], [1, 4, 5]]), torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    found = bag(ids, mask)
    torch.testing.assert_close(found[0], bag(ids[:1, :1], mask[:1, :1])[0])
    torch.testing.assert_close(found[1], bag(ids[1:2, :2], mask[1:2, :2])[0])
    torch.testing.assert_close(found[0], bag.words.weight[1] + bag.bias)  # a vector of length 1 has one entry: 1
    assert not torch.allclose(bag(ids[2:], mask[2:]), bag(ids[2:, [0, 2, 1]], mask[2:]))  # pairs know the order


def test_a_profile_tells_of_texts_before_and_after_preparation(counted):
    profile = json.loads((counted.attachments / "profile.json").read_text())
    facts = {fact["what"]: fact for fact in profile["facts"]}
    report = counted.result["report"]
    assert facts["rows"] == {"what": "rows", "before": report["source"]["rows"], "after": sum(report["rows"].values())}
    assert [part["part"] for part in profile["splits"]] == ["train", "validation", "held_out"]
    assert sum(sum(part["classes"].values()) for part in profile["splits"]) == facts["rows"]["after"]
    assert "panels" not in profile
    assert (counted.attachments / "data_profile.svg").stat().st_size
    page = (counted.attachments / "report.html").read_text()
    assert "as it is learned from" in page
    assert "copies across the split" in page


def test_a_search_judges_texts_by_their_validation_loss(tmp_path):
    recipe, losses = parse_text_recipe(QUICK), []
    judge = open_judge(NOVELS, {"filename": "novels.csv"}, recipe, tmp_path)
    value, facts = judge(recipe, lambda epoch, loss: losses.append((epoch, loss)))
    assert value == min(facts["curve"]) == min(loss for _, loss in losses)
    assert facts["epochs"] == len(losses) == 2
    assert 0 <= facts["accuracy"] <= 1


def test_a_batch_is_as_wide_as_its_longest_and_holds_like_lengths():
    problem = posed(NOVELS, tokens={"vocabulary": 1_000, "longest": 128})
    examples = TextExamples(problem, problem.train, learn_tokens(problem.of(problem.train), problem.recipe.tokens))
    rows = np.random.default_rng(0).permutation(len(examples)).astype(np.intp)
    ordered = examples.order(rows, 32, np.random.default_rng(1))
    assert sorted(ordered) == sorted(rows)
    assert ordered.tolist() == examples.order(rows, 32, np.random.default_rng(1)).tolist()
    assert ordered.tolist() != examples.order(rows, 32, np.random.default_rng(2)).tolist()

    def padded(order):
        return sum(examples.lengths[part].max() * len(part) for part in np.split(order, range(32, len(order), 32)))

    assert padded(ordered) < 0.9 * padded(rows)
    (ids, mask), _ = examples.batch(ordered[:32], None)
    assert ids.shape[1] == examples.lengths[ordered[:32]].max()
    assert mask.sum(dim=1).tolist() == examples.lengths[ordered[:32]].tolist()


def test_a_training_that_goes_on_makes_the_steps_it_would_have_made(tmp_path):
    """Length buckets depend on the seed and the epoch alone."""
    problem = posed(NOVELS)
    tokenizer = learn_tokens(problem.of(problem.train), problem.recipe.tokens)
    device = choose_device("float32")

    def taught(folder, report):
        lesson = lesson_for(problem, problem.recipe, tokenizer)
        checkpoints = Checkpoints(tmp_path / folder, "f", 0)
        fit = learn(lesson, problem.recipe.learning, device, checkpoints, site=Site(tmp_path / "team"), report=report)
        return fit, torch.cat([weight.detach().ravel() for weight in lesson.module.parameters()])

    def torn(share, _):
        if share > 0.7:
            raise KeyboardInterrupt

    calm, weights = taught("calm", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        taught("torn", torn)
    went_on, same = taught("torn", lambda *_: None)
    assert went_on.resumed_at == 1
    assert [entry | {"seconds": 0} for entry in went_on.history] == [entry | {"seconds": 0} for entry in calm.history]
    assert torch.equal(weights, same)


def test_rare_classes_weigh_more_where_they_should(table):
    path = table(*[(f"good thing {at}", "good") for at in range(30)], *[(f"bad thing {at}", "bad") for at in range(10)])
    weights = objective_for(posed(path, class_weights="balanced")).weights
    assert float(weights[0] / weights[1]) == pytest.approx(3, rel=0.2)
    assert objective_for(posed(path, class_weights={"bad": 2.0}, label_smoothing=0.1)).smoothing == 0.1
    with pytest.raises(InvalidRequest, match=r"class_weights names the class 'bade', which no text has\. Did you mean 'bad'"):
        posed(path, class_weights={"bade": 2.0})


def test_copies_never_lie_on_both_sides(table):
    rows = [(f"text {at // 2}{' ' * (at % 2)}" if at < 60 else f"alone {at}", "even" if at // 2 % 2 else "odd") for at in range(120)]
    problem = posed(table(*rows))
    learned = {text.strip() for text in problem.of(np.concatenate([problem.train, problem.validate]))}
    assert learned.isdisjoint(text.strip() for text in problem.of(problem.test))
    assert problem.duplicates == 30
    assert problem.leaked > 0


def test_empty_texts_and_missing_labels_are_told(table):
    rows = [(f"text {at}", "ab"[at % 2]) for at in range(40)]
    rows[7], rows[9] = ("  ", "a"), ("text", "")
    with pytest.raises(InvalidData, match=r"1 of the 40 texts of texts.csv are empty \(the first in data row 8\).* on_empty to skip"):
        posed(table(*rows))
    problem = posed(table(*rows), on_empty="skip")
    assert (problem.empty, problem.unlabelled, len(problem.texts)) == (1, 1, 38)


@pytest.mark.parametrize(
    ("rows", "change", "told"),
    [
        ([(f"text {at}", "a") for at in range(20)], {}, "is 'a' in every row"),
        ([(f"text {at}", "b" if at == 3 else "a") for at in range(20)], {}, "Class 'b' of the target 'novel' has one row only"),
        ([(f"text {at}", "") for at in range(20)], {}, "'novel' has no value in any row"),
        ([(f"text {at}", f"c{at}") for at in range(20)], {}, "20 distinct values in 20 rows, too many for classes"),
        ([(f"text {at}", "ab"[at % 2]) for at in range(4)], {}, "has 4 texts with a label; training needs at least 10"),
        ([("same", "ab"[at % 2]) for at in range(20)], {}, "fewer than two classes; remove copies"),
        ([("a", "b")], {"text": "body"}, "no column of texts 'body'"),
        ([("a", "b")], {"text": "novel"}, "cannot be both text and target"),
        ([("a", "b")], {"tokens": {"vocabulary": 10}}, "tokens.vocabulary"),
        ([("a", "b")], {"network": {"kind": "transformer", "heads": 3, "width": 16}}, "no multiple of 3 heads"),
    ],
)
def test_what_cannot_be_learned_is_one_sentence(table, rows, change, told):
    with pytest.raises((InvalidData, InvalidRequest), match=told):
        posed(table(*rows), **change)


def test_a_recipe_survives_being_written_down():
    recipe = parse_text_recipe(QUICK)
    assert parse_recipe(recipe.to_yaml()) == recipe
    assert json.loads(json.dumps(recipe.model_dump(mode="json", exclude_defaults=True)))["kind"] == "text"

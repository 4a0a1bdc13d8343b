"""A network learns what a forest answers, on rows with and without a right answer."""

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest

from job_context import quick_pictures  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.optimize.base import Work
from modelyard.optimize.held_out import HeldOut
from modelyard.optimize.sensitive import answers_of
from modelyard.optimize.table import read_pass
from modelyard.train.job import run
from unit.optimize.test_passes import forest, network

torch = pytest.importorskip("torch")

from modelyard.train.distillation import answers_for  # noqa: E402 - needs torch
from modelyard.train.networks.imitation import ImitatedClasses, ImitatedNumbers  # noqa: E402

PENGUINS = Path(__file__).parents[3] / "examples/data/penguins.csv"


class Context:
    def __init__(self, folder, data, recipe):
        self.folder, self.inputs = folder, {"data": data}
        self.spec = {"recipe": recipe, "dataset": {"name": "penguins", "filename": data.name}}
        self.state = folder / "state"

    def report(self, *_):
        pass


def taught(folder, recipe, unlabelled=0):
    """A forest trained as the platform does, on penguins of which the last have lost their target; its graph and its rows."""
    with PENGUINS.open(newline="") as file:
        heading, *rows = list(csv.reader(file))
    np.random.default_rng(1).shuffle(rows)
    place = heading.index(recipe["target"])
    for row in rows[: unlabelled or 0]:
        row[place] = ""
    data = folder / "penguins.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    recipe = {"families": ["forest"], "folds": 2, "budget": {"trials": 1}, "settings": {"forest": {"n_estimators": 300}}, **recipe}
    run(Context(folder, data, recipe))
    graph = onnx.load(folder / "output" / "artifact" / "model.onnx")
    written = (folder / "output" / "attachments" / "recipe.yaml").read_text()
    return graph, HeldOut.read(data, data.name, written, folder)


@pytest.mark.timeout(240)
def test_a_forest_becomes_a_network_that_is_as_good_and_far_smaller(tmp_path):
    graph, rows = taught(tmp_path, {"target": "species"}, unlabelled=60)
    work = Work(graph, lessons=rows.lessons(), origin=graph)
    student = read_pass("distill:16,temperature=3,mixing=0.8,epochs=40,rate=0.01")
    assert student.supports(work) == ""
    made = student.run(work)
    notes = work.notes["distillation"]
    assert notes["rows"]["unlabelled"] == 60
    assert notes["rows"]["labelled"] == len(rows.taught)
    assert (notes["temperature"], notes["mixing"]) == (3.0, 0.8)
    assert made.ByteSize() * 5 < graph.ByteSize()
    rows = rows.taking([value.name for value in graph.graph.input])
    before, after = (answers_of(model, type("Rows", (), {"inputs": rows.inputs})) for model in (graph, made))
    found = rows.compare(before, after)
    assert found["child"]["value"] > 0.98 * found["parent"]["value"]
    assert np.mean(before["label"] == after["label"]) > 0.95


@pytest.mark.timeout(240)
def test_a_quantity_is_learned_too_and_the_students_recipe_goes_before_the_passes_words(tmp_path):
    graph, rows = taught(tmp_path, {"target": "body_mass_g", "task": "regression"})
    work = Work(graph, lessons=rows.lessons(), origin=graph, student={"hidden": [8], "mixing": 1.0})
    made = read_pass("distill:64,epochs=60,rate=0.02").run(work)
    assert work.notes["distillation"]["student"]["hidden"] == [8]
    rows = rows.taking([value.name for value in graph.graph.input])
    before, after = (answers_of(model, type("Rows", (), {"inputs": rows.inputs}))["prediction"] for model in (graph, made))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.95
    with pytest.raises(InvalidRequest, match=r"'learning\.epochs' of the student"):
        read_pass("distill:8,epochs=1.5").run(work)


def test_what_a_teacher_says_is_put_into_the_order_of_the_classes(tmp_path):
    class Posed:
        task, classes = "classification", ("a", "b", "c")

    shares = np.array([[0.2, 0.3, 0.5]], np.float32)
    given = {"label": np.array(["c"], object), "probabilities": shares}
    np.testing.assert_allclose(answers_for(Posed, given, ("b", "a", "c")), [[0.3, 0.2, 0.5]])
    np.testing.assert_allclose(answers_for(Posed, {"label": np.array(["b"], object)}, ()), [[0, 1, 0]])
    with pytest.raises(ValueError, match="'x', which is none of the classes"):
        answers_for(Posed, {"label": np.array(["x"], object)}, ())
    with pytest.raises(ValueError, match="does not know the class 'c'"):
        answers_for(Posed, {"probabilities": shares}, ("a", "b", "d"))


def test_the_teacher_alone_counts_where_no_right_answer_is_known():
    scores, teacher = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.3, 0.7], [0.3, 0.7]])
    for temperature in (1.0, 4.0):
        whole = ImitatedClasses(temperature, 1.0)
        half = ImitatedClasses(temperature, 0.25)
        targets = torch.cat([teacher, torch.tensor([[1.0], [-1.0]])], dim=1)
        soft = whole.losses(scores, targets)
        hard = torch.nn.functional.cross_entropy(scores, torch.tensor([1, 1]), reduction="none")
        torch.testing.assert_close(half.losses(scores, targets), torch.stack([0.25 * soft[0] + 0.75 * hard[0], soft[1]]))
    # With equal answers there is nothing to learn.
    same = torch.cat([torch.softmax(scores, dim=1), torch.full((2, 1), -1.0)], dim=1)
    torch.testing.assert_close(ImitatedClasses(3.0, 0.5).losses(scores, same), torch.zeros(2), atol=1e-6, rtol=0)
    pairs = torch.tensor([[1.0, 3.0], [1.0, float("nan")]])
    torch.testing.assert_close(ImitatedNumbers(0.5).losses(torch.tensor([[2.0], [2.0]]), pairs), torch.tensor([1.0, 1.0]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("distill:a-b", "units of hidden layers first"),
        ("distill:0", "units of hidden layers first"),
        ("distill:8,temprature=2", "Did you mean 'temperature'"),
        ("distill:8,mixing=much", "is a number"),
    ],
)
def test_arguments_that_mean_nothing_are_one_sentence(text, told):
    with pytest.raises(InvalidRequest, match=told):
        read_pass(text)


def test_without_a_table_there_is_no_student():
    student = read_pass("distill")
    assert "rows of a table" in student.supports(Work(forest()))
    with pytest.raises(Unsupported, match="rows of a table"):
        student.run(Work(network()))

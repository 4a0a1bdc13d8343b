"""What a brought model answers is compared with labels, whatever its outputs are called and however they say it."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.core.errors import InvalidData, InvalidRequest
from modelyard.datasets.read import read_table
from modelyard.importers.samples import Sample
from modelyard.optimize.labelled import LabelledRows
from modelyard.optimize.measure import answers
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.onnx import RUNTIME
from modelyard.train.problem import Task

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((200, 4)).astype(np.float32)
W = RANDOM.standard_normal((4, 3)).astype(np.float32)
RIGHT = (X @ W).argmax(axis=1)
SPECIES = np.array(["ant", "bee", "cat"], object)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr("modelyard.optimize.held_out._RESAMPLES", 10)


@pytest.fixture
def model(tmp_path):
    """Makes x [rows, 4] → x · W, and whatever operators come behind it."""

    def make(*more, weights=W, output=("y", TensorProto.FLOAT, ["rows", 3]), classes=()):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["m" if more else "y"])]
        nodes += [helper.make_node(kind, ["m"], ["y"], **attributes) for kind, attributes in more]
        graph = helper.make_graph(
            nodes,
            "brought",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
            [helper.make_tensor_value_info(*output)],
            initializer=[numpy_helper.from_array(weights, "w")],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
        if classes:
            helper.set_model_props(made, {"modelyard.classes": str(list(classes)).replace("'", '"')})
        (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
        return RUNTIME.load(tmp_path, "m.onnx", LoadOptions(threads=1))

    return make


def judged(model, labels, metric="", inputs=X):
    return LabelledRows.read(Sample(arrays={"x": inputs, "y": labels}), model, "y", metric)


def compared(rows, model):
    found = answers(model.infer, rows.inputs, batched=True)
    return rows.compare(found, found), rows.metrics(found)


@pytest.mark.parametrize("more", [(), (("Softmax", {"axis": -1}),), (("Sigmoid", {}),)], ids=["logits", "probabilities", "sigmoids"])
def test_a_number_for_each_class_is_compared_with_whole_numbers(model, more):
    loaded = model(*more)
    rows = judged(loaded, RIGHT)
    found, metrics = compared(rows, loaded)
    assert (found["metric"], found["rows"]) == ("f1_macro", 50)
    assert found["parent"]["value"] == found["child"]["value"] == metrics["accuracy"] == 1.0
    assert metrics["log_loss"] < 1.2
    assert len(rows.calibration().inputs["x"]) == len(rows.lessons().labels) == 150
    assert not {tuple(row) for row in rows.inputs["x"]} & {tuple(row) for row in rows.lessons().inputs["x"]}


def test_texts_are_the_classes_that_the_model_names_or_stand_in_alphabetical_order(model):
    for classes in ((), ("cat", "ant", "bee")):
        loaded = model(classes=classes)
        names = np.array(classes, object) if classes else SPECIES
        found, _ = compared(judged(loaded, names[RIGHT], "accuracy"), loaded)
        assert (found["metric"], found["parent"]["value"]) == ("accuracy", 1.0)
    labels = names[RIGHT]
    labels[3] = "cta"
    with pytest.raises(InvalidData, match=r"'cta' is none of the model's classes. Did you mean 'cat'"):
        judged(loaded, labels)


def test_the_class_itself_is_compared_too(model):
    loaded = model(("ArgMax", {"axis": 1, "keepdims": 0}), output=("y", TensorProto.INT64, ["rows"]))
    found, metrics = compared(judged(loaded, RIGHT), loaded)
    assert found["parent"]["value"] == 1.0
    assert "log_loss" not in metrics
    with pytest.raises(InvalidRequest, match="needs probabilities"):
        judged(loaded, RIGHT, "roc_auc")


def test_one_number_is_a_quantity_or_says_which_of_two_classes(model):
    line = model(weights=W[:, :1], output=("y", TensorProto.FLOAT, ["rows", 1]))
    values = (X @ W[:, :1])[:, 0]
    rows = judged(line, values + 0.5)
    assert rows.reading.task is Task.REGRESSION
    found, metrics = compared(rows, line)
    assert found["metric"] == "rmse"
    assert metrics["mae"] == pytest.approx(0.5, abs=1e-5)
    for labels in ((values > 0).astype(np.float64), np.where(values > 0, "yes", "no").astype(object)):
        found, metrics = compared(judged(line, labels), line)
        assert found["parent"]["value"] == metrics["roc_auc"] == 1.0


def test_a_child_that_answers_otherwise_loses_and_the_loss_on_training_rows_is_known_too(model):
    loaded = model()
    rows = judged(loaded, RIGHT)
    before = answers(loaded.infer, rows.inputs, batched=True)
    found = rows.compare(before, {"y": -before["y"]})
    assert found["loss"]["value"] > 0.5
    looked_at = answers(loaded.infer, rows.calibration().inputs, batched=True)
    assert rows.calibration().loss(looked_at, {"y": -looked_at["y"]}) > 0.5


def test_a_table_brings_rows_and_labels_and_rows_without_a_label_are_left_out(model, tmp_path):
    lines = [
        f"{','.join(map(str, row))},{SPECIES[at] if number % 5 else ''}" for number, (row, at) in enumerate(zip(X, RIGHT, strict=True))
    ]
    (tmp_path / "rows.csv").write_text("a,b,c,d,species\n" + "\n".join(lines) + "\n")
    loaded = model()
    rows = LabelledRows.read(Sample(table=read_table(tmp_path / "rows.csv")), loaded, "species", "")
    found, _ = compared(rows, loaded)
    assert (found["rows"], found["parent"]["value"]) == (40, 1.0)
    with pytest.raises(InvalidData, match=r"no target 'specis'. Did you mean 'species'"):
        LabelledRows.read(Sample(table=read_table(tmp_path / "rows.csv")), loaded, "specis", "")


def test_labels_that_do_not_fit_are_refused_in_one_sentence(model):
    loaded = model()
    for labels, inputs, told in (
        (RIGHT + 1, X, "whole numbers from 0 to 2; one is 3"),
        (np.where(RIGHT == 2, 1, RIGHT) * 0, X, "the same in every row"),
        (np.array(["a", "b"], object)[RIGHT % 2], X, "3 classes apart without naming them, and the labels are 2"),
        (RIGHT[:20], X[:20], "20 rows have a label in 'y', and at least 32"),
        (np.stack([RIGHT, RIGHT], axis=1), X, r"shape \[200, 2\]"),
    ):
        with pytest.raises(InvalidData, match=told):
            judged(loaded, labels, inputs=inputs)
    with pytest.raises(InvalidData, match="no array 'y'"):
        LabelledRows.read(Sample(arrays={"x": X}), loaded, "y", "")
    with pytest.raises(InvalidRequest, match="Did you mean 'accuracy'"):
        judged(loaded, RIGHT, "acuracy")
    with pytest.raises(InvalidData, match="has 3 numbers a row"):
        judged(loaded, RIGHT, "rmse")

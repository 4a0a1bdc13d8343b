import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import text_models
from modelyard.core.errors import InvalidArtifact
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.entities import entities_of
from modelyard.runtimes.hf_onnx import RUNTIME, activate, runs


def load(folder, settings, **more):
    text_models.write(folder, settings, **more)
    return RUNTIME.load(folder, "model.onnx", LoadOptions())


def texts(*values):
    return {"text": np.array(values, object)}


@given(st.lists(st.integers(0, 512), max_size=100))
def test_runs_hold_each_row_once_by_length_and_pad_little(lengths):
    found = list(runs(lengths))
    assert sorted(row for run in found for row in run) == list(range(len(lengths)))
    flat = [lengths[row] for run in found for row in run]
    assert flat == sorted(lengths)
    for run in found:
        padded = len(run) * max(1, lengths[run[-1]])
        real = sum(max(1, lengths[row]) for row in run)
        assert padded <= 4096 or len(run) == 1
        assert padded <= 1.2 * real or real - max(1, lengths[run[-1]]) <= 512


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_row_does_not_depend_on_its_neighbours(tmp_path, pooling):
    model = load(tmp_path, {"task": "embed", "pooling": pooling})
    together = model.infer(texts("the cat sat in paris", "anna", ""))
    for row, text in enumerate(("the cat sat in paris", "anna", "")):
        vectors = text_models.vectors(text)
        wanted = {"mean": vectors.mean(axis=0), "cls": vectors[0], "last": vectors[-1]}[pooling]
        np.testing.assert_allclose(together["embedding"][row], wanted, rtol=1e-6)
        np.testing.assert_allclose(model.infer(texts(text))["embedding"][0], wanted, rtol=1e-6)


def test_long_texts_are_cut_off_and_counted(tmp_path):
    model = load(tmp_path, {"task": "embed", "max_tokens": 4})
    assert model.infer(texts("the cat sat in paris", b"anna"))["tokens"].tolist() == [4, 3]


def test_no_rows_give_no_rows(tmp_path):
    for number, (settings, name, shape) in enumerate(
        [
            ({"task": "embed"}, "embedding", (0, 3)),
            ({"task": "classify", "labels": ["a", "b", "c"]}, "probabilities", (0, 3)),
            ({"task": "rerank"}, "score", (0,)),
        ]
    ):
        model = load(tmp_path / str(number), settings, pooled=settings["task"] != "embed")
        empty = {spec.name: np.empty(0, object) for spec in model.signature.inputs}
        assert model.infer(empty)[name].shape == shape


def test_a_classifier_names_its_labels(tmp_path):
    model = load(tmp_path, {"task": "classify", "labels": ["low", "middle", "high"]}, pooled=True)
    assert model.signature.classes == ("low", "middle", "high")
    found = model.infer(texts("the cat"))
    assert found["label"].tolist() == ["high"]
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), [1.0], rtol=1e-6)


def test_entities_are_joined_by_their_labels():
    class Encoding:
        special_tokens_mask = (1, 0, 0, 0, 0, 0, 1)
        offsets = ((0, 0), (0, 4), (5, 9), (10, 12), (13, 17), (18, 22), (0, 0))

    labels = ("O", "B-PER", "I-PER", "B-LOC")
    chosen = [3, 1, 2, 0, 3, 3, 1]
    scores = np.full((7, 4), 0.1, np.float32)
    scores[range(7), chosen] = 0.7
    found = entities_of(scores, Encoding, "Anna Bell in Rome Oslo", labels)
    assert [(item["entity"], item["text"], item["start"], item["end"]) for item in found] == [
        ("PER", "Anna Bell", 0, 9),
        ("LOC", "Rome", 13, 17),
        ("LOC", "Oslo", 18, 22),
    ]
    assert found[0]["score"] == pytest.approx(0.7)


def test_entities_of_a_model_are_json(tmp_path):
    model = load(tmp_path, {"task": "tag", "labels": ["O", "NAME", "PLACE"]})
    (row,) = model.infer(texts("anna"))["entities"]
    assert json.loads(row) == [{"entity": "PLACE", "score": pytest.approx(1.0, abs=0.2), "text": "anna", "start": 0, "end": 4}]


def test_activations_stay_finite():
    numbers = np.array([[-1e4, 0.0, 1e4]], np.float32)
    for activation in ("sigmoid", "softmax", "none"):
        assert np.isfinite(activate(numbers, activation)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "classify", "labels": ["a"]}, r"tells 3 labels apart, but 'text.json' names 1"),
        ({"task": "embed", "pooling": "graph"}, r"wants \[rows, size\]"),
        ({"task": "sing"}, "cannot be read"),
        ({"task": "embed", "max_tokens": 0}, "max_tokens"),
        ({"task": "embed", "pool": "mean"}, "pool"),
        ({"task": "embed", "output": "nothing"}, "reads the output 'nothing'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, message):
    pooled = settings.get("task") == "classify"
    with pytest.raises(InvalidArtifact, match=message):
        load(tmp_path, settings, pooled=pooled)


@pytest.mark.parametrize(
    ("name", "content"), [("tokenizer.json", None), ("tokenizer.json", b"{"), ("tokenizer.json", b"{}"), ("text.json", None)]
)
def test_missing_and_damaged_files_are_named(tmp_path, name, content):
    text_models.write(tmp_path, {"task": "embed"})
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidArtifact, match=name):
        RUNTIME.load(tmp_path, "model.onnx", LoadOptions())

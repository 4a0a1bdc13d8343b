"""Encoders of Hugging Face's that learn classes (LoRA), in this process: from a folder that was pushed to the artifact that is served."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import transformers

import networks
from job_context import JobContext, quick_pictures  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidRequest
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.hf_onnx import RUNTIME
from modelyard.train.job import run
from modelyard.train.recipes.parse import parse_encoder_recipe, parse_recipe

pytestmark = pytest.mark.timeout(300)
QUICK = {
    "kind": "encoder",
    "base": "tiny@1",
    "target": "about",
    "longest": 24,
    "lora": {"rank": 4, "dropout": 0.0},
    "learning": {"epochs": 12, "batch_size": 8, "patience": None, "optimizer": {"learning_rate": 0.02}},
}


def write_texts(path):
    """Sentences about birds and about rain, of the words that the encoder's tokenizer knows."""
    parts = {
        "birds": ["a bird sings", "birds and the model", "anna writes about birds", "the bird reads a sentence"],
        "rain": ["rain falls", "the roof of the house", "weather in paris", "rain falls on the roof"],
    }
    ends = ["in the morning", "in paris", "and anna writes notes", "of the house", "about a sentence", "and", "the model reads", "on notes"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "about"])
        writer.writerows([f"{text} {end}", name] for end in ends for name, texts in parts.items() for text in texts)
    return path


def context(folder, architecture, recipe=QUICK, task="embed"):
    """A job whose base was pushed: what a version keeps of the folder is laid out as its files."""
    brought = folder / "brought"
    networks.encoder(brought, task, architecture)
    told = {"task": "embed", "max_tokens": 48, "pad_id": 0}
    (brought / "text.json").write_text(json.dumps(told))
    files = {"tokenizer.json": brought / "tokenizer.json", "text.json": brought / "text.json"}
    files |= {f"weights/{name}": brought / name for name in ("config.json", "model.safetensors")}
    inputs = {"data": write_texts(folder / "about.csv")} | {f"base.{at}": files[path] for at, path in enumerate(sorted(files))}
    base = {"reference": "tiny@1", "id": 1, "files": dict.fromkeys(files, "0")}
    spec = {"recipe": recipe, "base": base, "dataset": {"filename": "about.csv"}}
    return JobContext(spec, folder / "job", inputs)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """BERT's own shape is tried on the real platform."""
    made = context(tmp_path_factory.mktemp("distilbert"), "distilbert")
    made.result = run(made)
    return made


def test_what_is_served_answers_raw_texts_as_the_trainer_did(tuned):
    """Additions and head are one graph; its answers are those of the encoder with the additions beside it."""
    result = tuned.result
    assert result["report"]["proof"]["holds"]
    assert (result["format"], result["classes"]) == ("hf_onnx", ["birds", "rain"])
    assert result["metrics"]["accuracy"] > 0.8
    rows = list(csv.DictReader((tuned.attachments / "held_out.csv").read_text().splitlines()))
    texts = [row["text"] for row in csv.DictReader(tuned.inputs["data"].read_text().splitlines())]
    given = np.array([texts[int(row["row"]) - 1] for row in rows], object)
    model = RUNTIME.load(tuned.output / "artifact", "model.onnx", LoadOptions(threads=1))
    try:
        found = model.infer({"text": given})
    finally:
        model.close()
    assert found["label"].tolist() == [row["predicted"] for row in rows]
    wanted = [[float(row["p(birds)"]), float(row["p(rain)"])] for row in rows]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-4)


def test_few_weights_learn_and_what_was_learned_can_be_learned_on_from(tuned):
    report = tuned.result["report"]
    assert 0 < report["learned_weights"] < report["weights"] / 3
    history = report["training"]["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    weights = tuned.attachments / "weights"
    config = json.loads((weights / "config.json").read_text())
    assert config["id2label"] == {"0": "birds", "1": "rain"}
    assert str(Path.home()) not in (weights / "config.json").read_text()
    assert str(tuned.folder) not in (weights / "config.json").read_text()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(weights)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_a_base_without_weights_or_layers_is_refused_in_a_sentence(tmp_path):
    made = context(tmp_path, "bert", QUICK | {"lora": {"layers": ["nothing"]}})
    with pytest.raises(InvalidRequest, match=r"tiny@1 has none of the layers nothing; lora.layers may name .*query"):
        run(made)
    files = made.spec["base"]["files"]
    bare = {path: digest for path, digest in files.items() if not path.startswith("weights/")}
    spec = made.spec | {"base": made.spec["base"] | {"files": bare}, "recipe": QUICK}
    inputs = {"data": made.inputs["data"]} | {
        f"base.{at}": made.inputs[f"base.{sorted(files).index(path)}"] for at, path in enumerate(sorted(bare))
    }
    with pytest.raises(InvalidRequest, match="tiny@1 keeps only what is served, and no weights to learn with"):
        run(JobContext(spec, tmp_path / "bare", inputs))


def test_recipes_say_what_an_encoder_needs():
    assert parse_encoder_recipe({"kind": "encoder", "base": "a@1", "target": "y"}).lora.layers == ()
    with pytest.raises(InvalidRequest, match="lacks the field 'base'"):
        parse_recipe({"kind": "encoder", "target": "y"})
    with pytest.raises(InvalidRequest, match=r"leave learning\.sharded at false"):
        parse_recipe({"kind": "encoder", "base": "a@1", "target": "y", "learning": {"sharded": True, "workers": 2}})
    with pytest.raises(InvalidRequest, match="cannot be both text and target"):
        parse_recipe({"kind": "encoder", "base": "a@1", "target": "text"})

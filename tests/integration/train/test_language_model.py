"""From a folder of texts to a language model that clients talk to, on the real platform."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics

import openai
import pytest
import yaml

from example_scripts import run_example
from job_context import quick_pictures  # noqa: F401  # a fixture
from modelyard.core.errors import JobFailed, NotFound
from modelyard.sdk.client import Client
from modelyard.testing.platform import running_platform
from modelyard.train.job import run

pytestmark = pytest.mark.timeout(300)
TINY = {
    "tokenizer": {"vocabulary": 400},
    "network": {"hidden": 48, "layers": 1, "heads": 4, "key_heads": 2, "context": 128},
    "window": 32,
    "learning": {"epochs": 6, "batch_size": 16, "optimizer": {"learning_rate": 0.01}},
    "samples": {"count": 3, "tokens": 12},
}
TAUGHT = {
    "kind": "adapter",
    "lora": {"rank": 16, "dropout": 0},
    "window": 64,
    "learning": {"epochs": 30, "batch_size": 4, "patience": None, "optimizer": {"learning_rate": 0.02}},
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running_platform(tmp_path_factory.mktemp("language") / "home", workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform):
    with Client(platform.url, platform.admin_key) as made:
        yield made


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "topics"
    folder.mkdir()
    for at, text in enumerate(list(topics.values())[:24]):
        (folder / f"{at:02d}.txt").write_text(text[:1500])
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A topic of the manual."}]
    (folder / "talk.jsonl").write_text(json.dumps({"messages": turns}))
    return folder


@pytest.fixture(scope="module")
def told(platform, texts, tmp_path_factory):
    """What the example says: it learns a language, then (LoRA) to answer one thing, and asks for that."""
    place = tmp_path_factory.mktemp("talk")
    pairs = [{"prompt": f"What is topic {at}?", "completion": "A yard keeps models."} for at in range(40)]
    (place / "talk.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (place / "model.yaml").write_text(yaml.safe_dump(TINY | {"kind": "language_model"}))
    (place / "taught.yaml").write_text(yaml.safe_dump(TAUGHT))
    return run_example(platform, "write_and_adapt", texts, "talk.jsonl", "What is topic 7?", "model.yaml", "taught.yaml", folder=place)


@pytest.fixture(scope="module")
def version(client, told):
    return client.models.version("writer@1")


@pytest.fixture(scope="module")
def adapted(client, told):
    return client.models.version("writer@2")


def attachment(client, name):
    out = io.BytesIO()
    client.models.attachment("writer@1", name, out)
    return json.loads(out.getvalue())


def test_what_was_learned_is_told_with_its_interval_and_its_samples(client, version):
    metrics, report = version.metrics, version.report
    interval = report["evaluation"]["intervals"]["perplexity"]
    assert 1 < interval["low"] <= metrics["perplexity"] <= interval["high"] < 400
    assert set(metrics) >= {"perplexity", "nats_per_token", "bits_per_byte", "accuracy"}
    history = report["training"]["history"]
    assert len(history) == 6
    assert history[-1]["loss"] < history[0]["loss"] - 0.5
    assert report["proof"]["agreement"] >= 0.98
    assert report["source"]["documents"] == 25
    assert report["source"]["conversations"] == 1
    assert report["tokens"]["held_out"] > 0
    samples = attachment(client, "samples.json")
    assert len(samples) == 3
    assert all(entry["prompt"] for entry in samples)
    assert {file.path for file in version.artifact.files} >= {"openvino_model.xml", "config.json", "tokenizer.json", "model.safetensors"}
    assert version.artifact.format == "openvino"


def test_the_official_client_talks_to_it(platform, client, version):
    client.deploy("writer@1", "untaught", timeout=120)
    with openai.OpenAI(base_url=f"{platform.inference}/v1", api_key=platform.admin_key, max_retries=20) as asked:
        said = asked.chat.completions.create(model="untaught", messages=[{"role": "user", "content": "What is it?"}], max_tokens=6)
        assert said.usage.completion_tokens >= 1
        assert said.choices[0].message.role == "assistant"
        written = asked.completions.create(model="untaught", prompt="The statement", max_tokens=6, temperature=0)
        assert written.usage.prompt_tokens >= 2
        assert isinstance(written.choices[0].text, str)


def test_an_adapter_becomes_a_child_that_knows_more_than_its_base(version, adapted):
    assert adapted.lineage.parent_version_id == version.id
    assert adapted.lineage.detail["base"] == "writer@1"
    assert adapted.metrics["perplexity"] < adapted.metrics["base_perplexity"] / 3
    interval = adapted.report["evaluation"]["intervals"]["perplexity"]
    assert interval["low"] <= adapted.metrics["perplexity"] <= interval["high"]
    shared = {file.digest for file in version.artifact.files} & {file.digest for file in adapted.artifact.files}
    assert {file.digest for file in version.artifact.files if file.path == "openvino_model.bin"} <= shared
    assert "adapter/adapter_model.safetensors" in {file.path for file in adapted.artifact.files}


def test_the_child_answers_what_it_was_taught(told):
    assert "keeps models" in told.partition("What is topic 7?\n")[2]


def test_a_base_without_weights_or_layers_is_refused_in_a_sentence(client, adapted, texts):
    recipe = {"kind": "adapter", "base": "writer@2"}
    with pytest.raises(JobFailed, match="writer@2 keeps only what is served, and no weights to learn with"):
        client.train(texts / "talk.jsonl", recipe=recipe)
    with pytest.raises(NotFound, match="no version"):
        client.submit_training(texts / "talk.jsonl", recipe=recipe | {"base": "writer@9"})
    with pytest.raises(JobFailed, match=r"The base has none of the layers nothing; lora.layers may name .*q_proj"):
        client.train(texts, recipe=recipe | {"base": "writer@1", "learn": "everything", "lora": {"layers": ["nothing"]}})


@dataclass
class Context:
    """What a job's process gives to the work; ``stop_after`` reports of learning it is ended."""

    spec: dict
    folder: Path
    inputs: dict
    stop_after: int = 10**9
    told: list = field(default_factory=list)

    @property
    def state(self):
        return self.folder / "state"

    def report(self, stage, fraction, message):
        self.told.append((stage, message))
        if sum(entry[0] == "learn" for entry in self.told) > self.stop_after:
            raise KeyboardInterrupt


def test_a_training_that_goes_on_makes_the_very_weights_of_one_that_was_never_stopped(tmp_path):
    data = tmp_path / "topics.txt"
    data.write_text("\n\n".join(list(topics.values())[:12]))
    spec = {
        "recipe": TINY | {"kind": "language_model", "samples": {"count": 0}, "learning": {"epochs": 2, "checkpoint_seconds": 0}},
        "dataset": {"filename": data.name},
    }
    calm = run(Context(spec, tmp_path / "calm", {"data": data}))
    with pytest.raises(KeyboardInterrupt):
        run(Context(spec, tmp_path / "torn", {"data": data}, stop_after=9))
    torn = run(Context(spec, tmp_path / "torn", {"data": data}))
    assert "real_words" not in torn["metrics"]
    assert torn["metrics"] == calm["metrics"]
    weights = [(tmp_path / name / "output/artifact/model.safetensors").read_bytes() for name in ("calm", "torn")]
    assert weights[0] == weights[1]
    losses = [[entry["loss"] for entry in found["report"]["training"]["history"]] for found in (calm, torn)]
    assert losses[0] == losses[1]

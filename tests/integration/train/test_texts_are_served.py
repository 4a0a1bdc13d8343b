"""From a table of texts to a served classifier on the real platform: by the command line, the SDK and plain HTTP, from raw texts."""

import csv
import io
import json
import urllib.request

import pytest

import networks
from example_scripts import EXAMPLES, run_example
from modelyard.core.errors import JobFailed
from modelyard.sdk.client import Client
from modelyard.testing.platform import running_platform

pytestmark = pytest.mark.timeout(300)
NOVELS = EXAMPLES / "data/novels.csv"


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running_platform(tmp_path_factory.mktemp("texts") / "home", workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform):
    with Client(platform.url, platform.admin_key) as made:
        yield made


@pytest.fixture(scope="module")
def counted(platform):
    """What the example says."""
    return run_example(platform, "classify_texts", NOVELS, "novel")


def test_texts_become_a_version_whose_served_answers_are_the_trainers(client, platform, counted):
    assert "novels@1: Counted tokens and pairs" in counted
    assert "counted words: 0." in counted
    version = client.models.version("novels@1")
    assert version.artifact.format == "hf_onnx"
    assert version.profile.row_independent
    assert version.signature.classes == ("Emma", "Northanger Abbey", "Pride and Prejudice")
    out = io.BytesIO()
    client.models.attachment("novels@1", "held_out.csv", out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue().decode())))[:20]
    texts = [row["text"] for row in csv.DictReader(io.StringIO(NOVELS.read_text()))]
    given = [texts[int(row["row"]) - 1] for row in rows]
    found = client.predict("novels", [{"text": text} for text in given])
    assert [answer["label"] for answer in found] == [row["predicted"] for row in rows]
    body = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(given)], "data": given}]}).encode()
    headers = {"Authorization": f"Bearer {platform.admin_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{platform.inference}/v2/models/novels/infer", body, headers)
    with urllib.request.urlopen(request) as reply:
        outputs = {one["name"]: one for one in json.load(reply)["outputs"]}
    assert outputs["label"]["data"] == [row["predicted"] for row in rows]
    wanted = [float(row[f"p({name})"]) for row in rows for name in version.signature.classes]
    assert outputs["probabilities"]["data"] == pytest.approx(wanted, abs=1e-4)


def test_an_encoder_that_was_pushed_learns_classes_and_is_served(client, platform, tmp_path, counted):
    networks.encoder(tmp_path / "tiny", "embed")
    printed = run_example(platform, "fine_tune_encoder", tmp_path / "tiny", NOVELS, "novel", "1")
    assert "weights learned from" in printed
    base, child = client.models.version("encoder@1"), client.models.version("novels-encoder@1")
    assert {file.path for file in base.attachments} == {"weights/config.json", "weights/model.safetensors"}
    assert {file.path for file in base.artifact.files} == {"model.onnx", "text.json", "tokenizer.json"}
    assert (child.lineage.parent_version_id, child.lineage.detail["base"]) == (base.id, "encoder@1")
    out = io.BytesIO()
    client.models.attachment("novels-encoder@1", "held_out.csv", out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue().decode())))[:20]
    texts = [row["text"] for row in csv.DictReader(io.StringIO(NOVELS.read_text()))]
    found = client.predict("novels-encoder", [{"text": texts[int(row["row"]) - 1]} for row in rows])
    wanted = [[float(row[f"p({name})"]) for name in child.signature.classes] for row in rows]
    assert [list(answer["probabilities"].values()) for answer in found] == [pytest.approx(row, abs=1e-4) for row in wanted]
    assert [answer["label"] for answer in found] == [row["predicted"] for row in rows]


def test_texts_that_teach_nothing_are_one_sentence(client, tmp_path):
    path = tmp_path / "same.csv"
    path.write_text("text,label\n" + "\n".join(f"text {at},same" for at in range(20)))
    with pytest.raises(JobFailed, match="is 'same' in every row; classification needs at least two classes"):
        client.train(path, "label", name="same", recipe={"kind": "text"})

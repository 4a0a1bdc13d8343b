"""A small network is trained on a real table, optimized in a job, and judged on rows that neither has seen."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from onnx import save_model

from example_scripts import run_example
from language import TEXTS, converted_decoder, decoder_folder  # noqa: F401  # fixtures
from modelyard.core.errors import Conflict, InvalidRequest, JobFailed, NotFound
from modelyard.sdk.client import Client
from modelyard.testing.platform import running_platform
from servers import chromium
from unit.optimize.test_passes import network

PENGUINS = Path(__file__).parents[3] / "examples/data/penguins.csv"
LOOSE = {"quality": 0.5, "latency": 10.0, "size": 10.0}


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running_platform(tmp_path_factory.mktemp("optimize") / "home", workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform):
    with Client(platform.url, platform.admin_key) as made:
        made.train(PENGUINS, "species", name="net", recipe={"families": ["mlp"], "folds": 2, "budget": {"trials": 1}})
        yield made


@pytest.fixture(scope="module")
def children(client):
    return client.optimize("net@1", ["graph", "prune:0.2", "int8"], tolerance=LOOSE)


@pytest.fixture(scope="module")
def damaged(client):
    """A child without half of its channels, and a child of that one with hardly a weight left."""
    return client.optimize("net@1", ["channels:0.5", "prune:0.99"], tolerance={**LOOSE, "quality": 0.01})


@pytest.mark.timeout(240)
def test_each_pass_makes_a_child_with_its_report_beside_the_parent(client, children):
    parent = client.models.version("net@1")
    assert [child.lineage.detail["pass"] for child in children] == ["graph", "prune:0.2", "int8"]
    assert [child.lineage.parent_version_id for child in children] == [parent.id, children[0].id, children[1].id]
    for child in children:
        assert (child.lineage.source, child.lineage.dataset_digest) == ("optimize", parent.lineage.dataset_digest)
        assert [(tensor.name, tensor.datatype) for tensor in child.signature.inputs] == [
            (tensor.name, tensor.datatype) for tensor in parent.signature.inputs
        ]
        assert child.signature.classes == parent.signature.classes
        report = child.report["optimization"]
        # The same held-out rows: the parent is worth there what its own training said.
        quality = report["quality"]
        assert quality["parent"]["value"] == pytest.approx(parent.metrics[quality["metric"]], abs=1e-9)
        assert quality["rows"] == parent.report["rows"]["held_out"]
        assert quality["child"]["value"] == pytest.approx(child.metrics[quality["metric"]])
        assert quality["child"]["low"] <= quality["child"]["value"] <= quality["child"]["high"]
        for side in ("parent", "child"):
            for batch in ("batch_1", "batch_32"):
                assert 0 < report[side][batch]["p50_us"] <= report[side][batch]["p99_us"]
        assert report["child"]["size_bytes"] == child.artifact.size
        assert report["verdict"]["kept"], report["verdict"]
    assert children[0].report["optimization"]["quality"]["loss"]["value"] == 0.0
    assert client.models.promote(children[0].reference, "small").number == children[0].number


@pytest.mark.timeout(240)
def test_hidden_channels_leave_a_trained_network(client, damaged):
    parent, child = client.models.version("net@1"), damaged[0]
    report = child.report["optimization"]
    assert child.artifact.size < parent.artifact.size
    assert report["child"]["nodes"] == report["parent"]["nodes"]
    assert report["quality"]["child"]["value"] > 0.5


@pytest.mark.timeout(240)
def test_a_child_that_is_worse_is_kept_as_evidence_and_takes_no_alias(client, platform, damaged):
    child = damaged[1]
    verdict = child.report["optimization"]["verdict"]
    assert not verdict["kept"]
    assert verdict["reasons"][0].startswith("worse: f1_macro loses")
    with pytest.raises(Conflict, match=r"cannot take an alias.*worse: f1_macro"):
        client.models.promote(child.reference, "champion")
    assert "champion" not in client.models.get("net").aliases
    refused = platform.run("deploy", child.reference, "--name", "worse", check=False)
    assert "--accept-flagged" in refused.stderr
    assert client.deploy(child.reference, "worse", accept_flagged=True).versions == (child.number,)
    client.deployments.delete("worse")
    with pytest.raises(Conflict, match="was flagged"):
        client.optimize(child.reference, ["graph"])


@pytest.mark.timeout(240)
def test_a_child_of_a_child_is_judged_on_the_same_rows_and_printed_beside_it(client, platform):
    held_out = client.models.version("net@1").report["rows"]["held_out"]
    (child,) = client.optimize("net@1", ["clip:99.9"], tolerance=LOOSE)
    printed = platform.run("optimize", child.reference, "--pass", "graph", "--max-slower", "9", "--max-larger", "9").stdout
    lines = printed.splitlines()
    assert lines[0].split()[:2] == ["VERSION", "PASS"]
    assert lines[1].startswith(child.reference)
    assert lines[2].endswith("kept")
    document = json.loads(platform.run("show", "net@latest", "--json").stdout)
    assert document["lineage"]["detail"]["passes"] == ["clip:99.9", "graph"]
    assert document["report"]["optimization"]["quality"]["rows"] == held_out


@pytest.mark.timeout(240)
def test_what_cannot_be_optimized_is_one_sentence(client):
    with pytest.raises(NotFound, match="Did you mean 'prune'"):
        client.optimize("net@1", ["prun:0.5"])
    with pytest.raises(JobFailed, match="The pass 'prune' needs a number above 0 and below 1"):
        client.optimize("net@1", ["graph", "prune:2"])
    with pytest.raises(InvalidRequest, match="1 to 16 passes"):
        client.optimize("net@1", [])
    with pytest.raises(InvalidRequest, match="tolerance"):
        client.optimize("net@1", ["graph"], tolerance={"quality": -1.0})
    client.train(PENGUINS, "species", name="wood", recipe={"families": ["forest"], "folds": 2, "budget": {"trials": 1}})
    with pytest.raises(JobFailed, match=r"int8.*wood@1.*tree ensemble.*no matrix weights"):
        client.optimize("wood@1", ["int8"])
    assert client.models.get("wood").latest == 1


@pytest.mark.timeout(600)
def test_the_example_goes_from_a_forest_to_a_tuned_network(client, platform, tmp_path):
    said = run_example(platform, "make_smaller", PENGUINS, "species", folder=tmp_path, seconds=560)
    assert len(said.splitlines()) == 5
    teacher, child = client.models.version("shrinking@1"), client.models.version("shrinking@2")
    assert child.lineage.parent_version_id == teacher.id
    assert child.signature.inputs == teacher.signature.inputs
    assert child.artifact.size * 5 < teacher.artifact.size
    tuned = client.models.version("shrinking@5").report["tuning"]["tried"]
    assert {row["title"].split(",")[0] for row in tuned} == {"as it is", "graph"}
    report = child.report["optimization"]
    assert report["notes"]["distillation"]["student"]["hidden"] == [32]
    assert report["quality"]["child"]["value"] > 0.95 * report["quality"]["parent"]["value"]
    assert client.models.version("shrinking@3").report["optimization"]["notes"]["finetuning"]
    assert b"Tuning" in (tmp_path / "shrinking-5.html").read_bytes()
    assert all((tmp_path / f"shrinking-{name}.png").read_bytes().startswith(b"\x89PNG") for name in ("family", "tuning"))
    with pytest.raises(InvalidRequest, match="'hiden' of the student"):
        client.optimize("shrinking@1", ["distill"], student={"hiden": [3]})


@pytest.mark.timeout(300)
def test_the_best_way_of_running_is_found_on_a_real_server_and_used_when_it_is_deployed(client, platform, tmp_path):
    """Of a version that was brought, judged by labels that were brought too; the example tunes one that was trained here."""
    client.push(_fetched(client, tmp_path), "tried")
    told = ["--p99", "5s", "--max-loss", "30%", "--try", "prune:0.99+int4", "--workers", "1", "--seconds", "2"]
    rows = ["--calibrate", str(PENGUINS), "--target", "species", "--metric", "accuracy"]
    document = platform.json("tune", "tried@1", *told, "--connections", "4", *rows)
    tuning = document["report"]["tuning"]
    assert tuning["met"]
    assert tuning["measured"]["failed"] == 0
    assert tuning["measured"]["per_second"] > 10
    assert tuning["refused"]["prune:0.99 + int4"].startswith("worse: accuracy loses")
    tried = tuning["tried"]
    assert {row["title"].split(",")[0] for row in tried} == {"as it is"}  # the example tries a chain beside it
    assert tried[0]["rounds"] > tried[-1]["rounds"]
    assert any(row["best"] for row in tried)
    assert all(row["p50_ms"] <= row["p99_ms"] for row in tried)
    assert {file["path"] for file in document["attachments"]} >= {"tuning.svg", "report.html"}
    child = client.models.version(f"tried@{document['version']}")
    assert child.lineage.source == "optimize"
    client.deploy(child.reference, "tuned")
    assert client.deployments.policy("tuned") == tuning["policy"]
    client.deployments.delete("tuned")
    with pytest.raises(InvalidRequest, match="'p99_ms' must lie between"):
        client.tune("net@1", {"p99_ms": 0})
    with pytest.raises(InvalidRequest, match="say with calibration which rows"):
        client.tune("tried@1", {"p99_ms": 5}, labels={"target": "species"})


@pytest.mark.timeout(240)
def test_the_pages_of_a_version_and_its_child_are_seen_in_a_browser(client, platform, children, tmp_path):
    child = children[2]
    platform.run("report", "net@1", "--output", str(tmp_path / "parent.html"))
    platform.run("report", child.reference, "--output", str(tmp_path / "child.html"), "--pictures", str(tmp_path / "drawn"))
    assert (tmp_path / "drawn/family.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "drawn/confusion_matrix.svg").is_file()
    with chromium.running() as browser:
        asked = []
        sheet = browser.new_page(viewport={"width": 1100, "height": 900})
        sheet.on("request", lambda request: asked.append(request.url))
        for name, told in (
            ("parent", ["Metrics", "Pictures", "Classes", "Leaderboard", "Data"]),
            ("child", ["Beside its parent", "Pictures"]),
        ):
            sheet.goto((tmp_path / f"{name}.html").as_uri())
            headings = sheet.locator("h2").all_inner_texts()
            assert set(told) <= set(headings), headings
            pictures = sheet.locator("figure img")
            assert pictures.count() >= 3
            assert all(pictures.nth(at).evaluate("image => image.complete && image.naturalWidth > 100") for at in range(pictures.count()))
            if folder := os.environ.get("MODELYARD_TEST_PICTURES"):
                sheet.screenshot(path=f"{folder}/{name}.png", full_page=True)
        assert "f1 macro" in sheet.locator("#beside-its-parent").inner_text()
        assert all(url.startswith(("file:", "data:")) for url in asked)
        # As the management listener shows it, nothing runs and nothing is fetched.
        answer = sheet.context.request.get(
            f"{platform.url}/api/v1/models/net/versions/1/report", headers={"authorization": f"Bearer {platform.admin_key}"}
        )
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    table = platform.run("compare", "net@1", "--output", str(tmp_path / "family.svg")).stdout
    assert child.reference in table
    assert (tmp_path / "family.svg").read_text().startswith("<svg")
    client.push(_fetched(client, tmp_path), "plain")
    with pytest.raises(NotFound, match="no report"):
        client.models.report("plain@1", io.BytesIO())


def _fetched(client, folder):
    with (folder / "model.onnx").open("wb") as file:
        client.models.download("net@1", "model.onnx", file)
    return folder / "model.onnx"


@pytest.mark.timeout(240)
def test_a_brought_model_is_judged_by_its_answers(client, tmp_path):
    with (tmp_path / "model.onnx").open("wb") as file:
        client.models.download("net@1", "model.onnx", file)
    client.push(tmp_path / "model.onnx", "brought")
    same, other = client.optimize("brought@1", ["graph", "prune:0.9"], tolerance=LOOSE)
    assert same.report["optimization"]["verdict"]["kept"]
    assert same.report["optimization"]["quality"] is None
    assert other.report["optimization"]["verdict"]["reasons"][0].startswith("unproven:")


@pytest.mark.timeout(240)
def test_a_brought_model_is_judged_by_labels_that_are_brought_too(client, platform, tmp_path):
    client.push(_fetched(client, tmp_path), "labelled")
    told = ["--pass", "int8", "--calibrate", str(PENGUINS), "--target", "species", "--metric", "accuracy"]
    platform.run("optimize", "labelled@1", *told, "--max-slower", "9", "--max-larger", "9")
    small, labels = client.models.version("labelled@2"), {"target": "species"}
    (pruned,) = client.optimize("labelled@1", ["prune:0.95"], calibration="calibration", labels=labels)
    quality = small.report["optimization"]["quality"]
    assert (quality["metric"], quality["rows"]) == ("accuracy", 86)
    assert quality["parent"]["value"] > 0.95
    assert small.report["optimization"]["verdict"]["kept"], small.report["optimization"]["verdict"]
    assert small.metrics["accuracy"] == pytest.approx(quality["child"]["value"])
    assert small.report["evaluation"]["confusion_matrix"]["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert {"family.svg", "confusion_matrix.svg", "calibration.svg"} <= {file.path for file in small.attachments}
    assert all(small.report["optimization"][side]["peak_memory_bytes"] > 0 for side in ("parent", "child"))
    assert pruned.report["optimization"]["verdict"]["reasons"][0].startswith("worse: f1_macro loses")
    with pytest.raises(InvalidRequest, match="say with calibration which rows"):
        client.optimize("labelled@1", ["int8"], labels={"target": "species"})
    with pytest.raises(InvalidRequest, match="was trained here"):
        client.optimize("net@1", ["int8"], calibration="calibration", labels={"target": "species"})


@pytest.mark.timeout(240)
def test_a_brought_model_is_calibrated_on_rows_that_are_brought_too(client, tmp_path):
    save_model(network(hidden=32), tmp_path / "plain.onnx")
    client.push(tmp_path / "plain.onnx", "numbers")
    rows = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    accepted = LOOSE | {"quality": 1.0}
    static, tuned = client.optimize("numbers@1", ["int8:static", "graph"], tolerance=accepted, calibration=tmp_path / "rows.npz")
    assert static.report["optimization"]["notes"]["int8"]["quantized"] == 2
    assert tuned.report["optimization"]["difference"]["y"]["relative"] < 0.1
    (again,) = client.optimize("numbers@1", ["prune:0.5,finetune=5"], tolerance=accepted, calibration="calibration")
    assert again.report["optimization"]["notes"]["finetuning"][0]["kept"]
    np.savez(tmp_path / "wide.npz", x=np.ones((300, 9), np.float32))
    with pytest.raises(JobFailed, match=r"wide\.npz\) does not fit numbers@1: .*'x'.*9"):
        client.optimize("numbers@1", ["int8"], calibration=tmp_path / "wide.npz")


@pytest.mark.timeout(300)
def test_the_weights_of_a_language_model_are_made_smaller_and_judged_by_text(client, converted_decoder, tmp_path):  # noqa: F811
    parent = client.push(converted_decoder, "words")
    (tmp_path / "words.txt").write_text(TEXTS[1].read_text())
    tolerance = {"quality": 0.05, "latency": 9.0, "size": 0.05}
    (eight,) = client.optimize("words@1", ["int8"], tolerance=tolerance, calibration=tmp_path / "words.txt")
    report = eight.report["optimization"]
    assert (eight.artifact.format, eight.artifact.entry) == ("openvino", "openvino_model.xml")
    assert eight.artifact.size < 0.7 * parent.artifact.size
    assert (report["quality"]["metric"], report["notes"]["weights_kept"]["matrices"]) == ("nats_per_token", {"int8": 22})
    assert report["quality"]["rows"] > 500
    assert 0 <= abs(report["quality"]["loss"]["value"]) < 0.01
    assert report["verdict"]["kept"], report["verdict"]
    assert eight.metrics["nats_per_token"] == report["quality"]["child"]["value"]
    (four,) = client.optimize("words@1", ["int4:64"], tolerance={**tolerance, "quality": 0.0}, calibration="calibration")
    assert four.artifact.size < 0.8 * eight.artifact.size
    assert four.report["optimization"]["notes"]["weights_kept"]["matrices"]["int4"] > 10
    with pytest.raises(JobFailed, match="whole numbers already"):
        client.optimize("words@1", ["int8", "int4"])

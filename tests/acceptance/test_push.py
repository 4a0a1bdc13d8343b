"""Bringing a model that is no ONNX: pushed by the command line, proved, deployed and called through a real worker."""

from __future__ import annotations

import joblib
import pytest
import skops.io

import estimators
from modelyard import Client
from modelyard.core.access import Action
from modelyard.core.errors import JobFailed, PermissionDenied
from modelyard.testing.platform import RunningPlatform, running_platform


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory):
    with running_platform(tmp_path_factory.mktemp("push") / "home", workers=1) as running:
        yield running


@pytest.mark.timeout(300)
def test_a_pipeline_is_pushed_proved_and_served(platform: RunningPlatform, tmp_path) -> None:
    table, _ = estimators.frame()
    pipeline = estimators.pipeline()
    (tmp_path / "penguins.skops").write_bytes(skops.io.dumps(pipeline))
    table.to_csv(tmp_path / "rows.csv", index=False)
    shown = platform.run("push", str(tmp_path / "penguins.skops"), "--sample", str(tmp_path / "rows.csv"), "--tag", "team=birds").stdout
    for expected in (
        "an estimator in a skops file",
        "skl2onnx",
        "200 rows the pusher's sample",
        "100.00% equal",
        "ms before",
        "team=birds",
    ):
        assert expected in shown
    version = platform.json("show", "penguins")
    report = version["report"]["import"]
    assert report["proof"]["rows"] == 200
    assert report["before_us"] > report["after_us"] > 0
    assert version["lineage"]["source"] == "sklearn"
    platform.run("deploy", "penguins@1")
    with Client(platform.url, platform.admin_key, inference_url=platform.inference) as client:
        found = client.predict("penguins", table.head(5).to_dict("records"))
    assert [row["label"] for row in found] == pipeline.predict(table.head(5)).tolist()
    assert set(found[0]["probabilities"]) == {"Adelie", "Gentoo"}


@pytest.mark.timeout(300)
def test_a_pickle_needs_the_right_and_the_word(platform: RunningPlatform, tmp_path) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(estimators.pipeline(), path)
    with Client(platform.url, platform.admin_key) as client:
        with pytest.raises(JobFailed, match="push it again with --trust"):
            client.push(path, "pickled")
        developer = client.keys.create(label="developer", actions=[Action.READ, Action.DEVELOP])
        with Client(platform.url, developer.key) as narrow, pytest.raises(PermissionDenied, match="'trust'"):
            narrow.push(path, "pickled", trust=True)
        assert not [model for model in client.models.list() if model.name == "pickled"]
        version = client.push(path, "pickled", trust=True)
        assert version.artifact.format == "onnx"
        assert version.report["import"]["confinement"]
        assert client.push(path, "pickled", trust=True).number == 2  # another job, another lineage

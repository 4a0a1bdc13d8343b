"""The same platform with its rows in PostgreSQL and its blobs in S3, across a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.testing.platform import running_platform


@pytest.mark.timeout(180)
def test_postgresql_and_s3_carry_a_platform_across_a_restart_and_a_new_home(
    postgres_url: str, s3_url: str, tmp_path: Path, penguins: Path
) -> None:
    settings = {"DATABASE_URL": postgres_url, "BLOB_URL": s3_url}
    with running_platform(tmp_path / "first", workers=1, settings=settings) as platform, Client(platform.url, platform.admin_key) as client:
        client.push(write_adder(tmp_path / "adder.onnx", 5.0), "adder")
        client.deploy("adder@1", "adder")
        assert client.predict("adder", {"x": [[1.0, 2.0]]})["y"].tolist() == [[6.0, 7.0]]
        version = client.train(penguins, "species", name="penguins", recipe={"families": ["logistic"]})
        assert version.metrics["accuracy"] > 0.9
        caller = client.keys.create(deployments=["adder"]).key
    # Nothing but the two URLs is needed to go on elsewhere.
    with running_platform(tmp_path / "second", workers=1, settings=settings) as platform, Client(platform.url, caller) as client:
        assert client.predict("adder", {"x": [[1.0, 2.0]]})["y"].tolist() == [[6.0, 7.0]]

"""The Python client, sync and async, against the real API."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

import modelyard
from management import ADMIN, Platform, adder
from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import (
    DeadlineExceeded,
    InvalidArtifact,
    InvalidRequest,
    JobFailed,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from modelyard.core.jobs import JobStatus, Progress
from modelyard.sdk.async_client import AsyncClient
from modelyard.sdk.client import Client


@pytest.fixture
def client(url: str):
    with modelyard.connect(url, ADMIN) as made:
        yield made


def test_push_compare_promote_roll_back(client: Client, model_file: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    first = client.models.push(model_file, name="adder", metrics={"rmse": 2.0}, on_progress=lambda *step: seen.append(step))
    size = len(adder())
    assert seen[-1] == ("adder.onnx", size, size)
    other = tmp_path / "other.onnx"
    other.write_bytes(adder(2.0))
    second = client.push(other, "adder", tags={"a": "b"})
    assert (first.reference, second.reference) == ("adder@1", "adder@2")
    assert client.models.compare("adder@1", "adder@2")["b"] == "adder@2"
    assert client.models.promote("adder@1").number == 1
    client.models.promote("adder@2")
    assert client.models.rollback("adder").number == 1
    assert client.models.version("adder").number == 1
    assert client.models.get("adder").aliases == {"champion": 1}
    assert [version.number for version in client.models.versions("adder")] == [2, 1]
    assert client.models.list(tags={"a": "b"})[0].name == "adder"
    out = io.BytesIO()
    assert client.models.download("adder@1", "adder.onnx", out) == size
    assert out.getvalue() == adder()
    assert client.models.update("adder", description="Adds.").description == "Adds."


def test_a_folder_is_pushed_whole(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "docs").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(adder())
    (folder / "docs" / "readme.txt").write_text("hello")
    (folder / ".hidden").write_text("not sent")
    version = client.models.push(folder, "bundle")
    assert [file.path for file in version.artifact.files] == ["docs/readme.txt", "model.onnx"]


def test_deploying_waits_until_it_is_ready_or_says_why_not(client: Client, model_file: Path, platform: Platform) -> None:
    client.models.push(model_file, "adder")
    view = client.deploy("adder@1", "sums")
    assert (view.state, view.versions) == (DeploymentState.READY, (1,))
    platform.workers.state, platform.workers.reason = DeploymentState.FAILED, "no memory"
    with pytest.raises(Unavailable, match="no memory"):
        client.deployments.wait("sums")
    platform.workers.state = DeploymentState.LOADING
    with pytest.raises(DeadlineExceeded, match="loading"):
        client.deployments.wait("sums", timeout=0.0)
    client.deployments.delete("sums")
    assert client.deployments.list() == []


def test_waiting_for_a_job_reports_progress_and_ends_with_it(client: Client, platform: Platform) -> None:
    job = client.jobs.submit("train", {"recipe": {}})
    store = platform.services.store
    with pytest.raises(DeadlineExceeded, match="still queued"):
        client.jobs.wait(job.id, timeout=0.01, every=0.01)
    with store.write() as session:
        session.jobs.update(job.id, status=JobStatus.RUNNING, progress=Progress(stage="fit", fraction=0.5))
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        with store.write() as session:
            session.jobs.update(job.id, status=JobStatus.FAILED, error="The table has one class.")

    with pytest.raises(JobFailed, match="one class"):
        client.jobs.wait(job.id, on_progress=watch, every=0.01)
    assert seen[0].stage == "fit"


def test_training_uploads_the_table_and_queues_a_job(client: Client, tmp_path: Path) -> None:
    table = tmp_path / "My Rows.csv"
    table.write_text("a,b\n1,2\n")
    job = client.submit_training(table, "b", recipe={"folds": 3})
    assert job.spec == {"recipe": {"folds": 3, "target": "b", "name": "my-rows"}, "dataset": "my-rows@1"}
    assert client.datasets.list()[0].filename == "My Rows.csv"
    with pytest.raises(InvalidRequest, match="which column"):
        client.submit_training(table)


def test_keys_are_issued_listed_and_revoked(client: Client, url: str) -> None:
    issued = client.keys.create(label="shop", expires_seconds=60)
    with Client(url, issued.key) as caller:
        assert caller.whoami().key_id == issued.id
        with pytest.raises(PermissionDenied):
            caller.models.list()
        client.keys.revoke(issued.id)
        with pytest.raises(Unauthenticated):
            caller.whoami()
    assert client.keys.list()[-1].revoked_ns


def test_errors_are_those_of_core(client: Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nonsense")
    with pytest.raises(InvalidArtifact):
        client.models.push(bad, "bad")
    with pytest.raises(NotFound, match="no model 'bad'"):
        client.models.get("bad")
    with pytest.raises(NotFound):
        client.models.delete("bad")


def test_the_rest_of_the_platform_answers(client: Client) -> None:
    assert client.status()["workers"]
    assert client.platform.usage() == []
    assert client.platform.audit()[-1].action == "key.create"
    assert client.platform.collect_garbage(min_age_seconds=0)["removed"] == 0
    schema = client.platform.recipe_schema()
    kinds = [schema["$defs"][one["$ref"].rpartition("/")[2]]["properties"] for one in schema["oneOf"]]
    assert schema["discriminator"]["mapping"].keys() == {"table", "images", "series", "text", "encoder", "language_model", "adapter"}
    assert len(kinds) == 7
    assert all({"kind", "name", "seed"} <= kind.keys() for kind in kinds)
    out = io.BytesIO()
    assert client.platform.backup(out) == len(out.getvalue()) > 0
    assert client.platform.plan({"keys": {"k": {}}}).changes[0].name == "k"
    assert client.platform.apply({"keys": {"k": {}}}).keys[0].key.startswith("my_")


def test_the_async_client_does_the_same(url: str, model_file: Path) -> None:
    async def walk() -> None:
        async with AsyncClient(url, ADMIN) as client:
            version = await client.models.push(model_file, "adder")
            view = await client.deploy(version.reference)
            assert view.name == "adder"
            found = await asyncio.gather(*(client.models.version("adder@1") for _ in range(4)))
            assert {each.digest for each in found} == {version.digest}
            out = io.BytesIO()
            await client.models.download("adder@1", "adder.onnx", out)
            assert out.getvalue() == adder()

    asyncio.run(walk())

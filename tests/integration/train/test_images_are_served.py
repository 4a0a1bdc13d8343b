"""From an image folder to a served and quantized network on the real platform, with everything that may happen on the way."""

import csv
import io
import json
import os
import signal
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from digits import write_folder
from example_scripts import run_example
from modelyard.core.errors import Conflict, InvalidRequest, JobFailed
from modelyard.core.jobs import JobStatus
from modelyard.sdk.client import Client
from modelyard.testing.platform import running_platform

NETWORK = {"kind": "lenet", "width": 8}
SLOW = {"network": NETWORK, "learning": {"epochs": 25, "patience": None, "checkpoint_seconds": 0.2}, "kind": "images"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running_platform(tmp_path_factory.mktemp("images") / "home", workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform):
    with Client(platform.url, platform.admin_key) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "digits", 600)


@pytest.fixture(scope="module")
def told(platform, folder, tmp_path_factory):
    """What the example says: it trains, makes smaller, and serves."""
    place = tmp_path_factory.mktemp("pictures")
    said = run_example(platform, "classify_images", folder, folder=place)
    assert {path.name for path in place.iterdir()} == {
        f"digits-{name}.png" for name in ("learning_curves", "confusion_matrix", "hardest_images")
    }
    return said


@pytest.fixture(scope="module")
def version(client, told):
    return client.models.version("digits@1")


def attachment(client, reference, name):
    out = io.BytesIO()
    client.models.attachment(reference, name, out)
    return out.getvalue().decode()


def started(client, job, epoch):
    """Waits until a job has done some epochs; its state then."""
    for _ in range(3000):
        found = client.jobs.get(job)
        assert not found.status.ended, found.error
        if found.pid and f"epoch {epoch} of" in client.jobs.log(job).text:
            return found
        time.sleep(0.02)
    raise AssertionError("the job does not get on")


@pytest.mark.timeout(300)
def test_a_folder_becomes_a_version_whose_served_answers_are_the_trainers(client, platform, folder, version, told):
    assert version.metrics["accuracy"] > 0.8
    assert f"digits@1: {version.metrics['accuracy']:.3f} of the held-out images are right, by 1 process(es)" in told
    assert version.lineage.source == "train"
    assert version.signature.classes == tuple("0123456789")
    assert version.profile.row_independent
    client.deploy("digits@1", "plain")
    rows = list(csv.DictReader(io.StringIO(attachment(client, "digits@1", "held_out.csv"))))[:25]
    images = np.stack([np.asarray(Image.open(folder / row["image"])) for row in rows])[..., None]
    found = client.predict("plain", {"image": images})
    assert found["label"].tolist() == [row["predicted"] for row in rows]
    np.testing.assert_allclose(found["probabilities"], [[float(row[f"p({name})"]) for name in "0123456789"] for row in rows], atol=1e-4)
    answers = platform.json("predict", "plain", "--data", str(folder / rows[0]["image"]))["predictions"]
    assert [entry["label"] for entry in answers] == [rows[0]["predicted"]]
    printed = platform.run("predict", "plain", "--data", str(folder / "3")).stdout
    assert "PROBABILITY" in printed.splitlines()[0]


@pytest.mark.timeout(300)
def test_the_network_is_quantized_judged_on_the_same_held_out_images_and_served(client, version, told):
    child = client.models.version("digits@2")
    report, quality = child.report["optimization"], child.report["optimization"]["quality"]
    assert quality["metric"] == "accuracy"
    assert quality["parent"]["value"] == pytest.approx(version.metrics["accuracy"])
    assert report["notes"]["int8"]
    assert report["verdict"]["kept"], report["verdict"]
    assert child.signature.inputs == version.signature.inputs
    assert client.deployments.get("digits").versions == (2,)
    served = [line.split() for line in told.splitlines() if line.startswith("digits@2 says that 0/")]
    assert [line[-1] for line in served].count("0") >= 2


@pytest.mark.timeout(300)
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(client, folder):
    undisturbed = client.train(folder, name="calm", recipe=SLOW)
    job = client.submit_training(folder, name="torn", recipe=SLOW)
    os.kill(started(client, job.id, 4).pid, signal.SIGKILL)
    ended = client.jobs.wait(job.id)
    torn = client.trained(ended)
    assert ended.attempt == 2
    assert torn.report["training"]["resumed_at"] >= 1
    histories = [[entry | {"seconds": 0} for entry in found.report["training"]["history"]] for found in (undisturbed, torn)]
    assert histories[0] == histories[1]
    assert torn.digest == undisturbed.digest
    assert torn.metrics == undisturbed.metrics


@pytest.mark.timeout(300)
def test_a_cancelled_training_is_resumed_with_other_settings(client, platform, folder):
    job = client.submit_training(folder, name="paused", recipe=SLOW | {"learning": SLOW["learning"] | {"epochs": 500}})
    started(client, job.id, 4)
    with pytest.raises(Conflict, match="running"):
        client.jobs.resume(job.id)
    client.jobs.cancel(job.id)
    with pytest.raises(JobFailed, match="cancelled"):
        client.jobs.wait(job.id)
    resumed = json.loads(platform.run("resume", str(job.id), "--set", "learning.epochs=12", "--json").stdout)
    assert resumed["status"] == JobStatus.SUCCEEDED
    version = client.models.version(f"paused@{resumed['result']['version']}")
    assert 1 <= version.report["training"]["resumed_at"] <= len(version.report["training"]["history"])
    with pytest.raises(Conflict, match="left nothing"):
        client.jobs.resume(job.id)


@pytest.mark.timeout(300)
def test_a_loss_that_explodes_is_one_sentence_and_can_be_resumed_with_a_smaller_step(client, folder):
    wild = {
        "learning": {
            "epochs": 6,
            "clip": None,
            "checkpoint_seconds": 0,
            "optimizer": {"kind": "sgd", "learning_rate": 10.0, "momentum": 0.99},
        }
    }
    job = client.submit_training(folder, name="wild", recipe=wild | {"network": NETWORK})
    with pytest.raises(JobFailed, match=r"The loss became (nan|inf) in step \d+ of epoch \d"):
        client.jobs.wait(job.id)
    resumed = client.jobs.resume(job.id, {"recipe": {"learning": {"optimizer": {"learning_rate": 2e-3}, "clip": 1.0}}})
    assert client.jobs.get(resumed.id).spec["recipe"]["learning"]["optimizer"]["learning_rate"] == 2e-3
    client.jobs.cancel(resumed.id)


TOGETHER = {"network": NETWORK | {"dropout": 0}, "learning": SLOW["learning"] | {"epochs": 8, "batch_size": 64}, "kind": "images"}


def workers_of(pid):
    """The processes that share a job's work: forks of a child that is prepared for it, or on macOS children."""
    children = {child: " ".join(child.cmdline()) for child in psutil.Process(pid).children()}
    prepared = [child for child, command in children.items() if "forkserver" in command]
    return [fork for child in prepared for fork in child.children()] or [child for child, told in children.items() if "spawn_main" in told]


@pytest.mark.timeout(300)
def test_two_workers_learn_together_and_go_on_when_one_of_them_is_killed(client, platform, folder):
    """That they learn what one process learns from batches twice as large is shown in ``test_workers.py``."""
    flags = ("--set", "network.kind=lenet", "--set", "network.width=8", "--set", "network.dropout=0")
    learning = {"epochs": 8, "patience": "null", "checkpoint_seconds": 0.2, "batch_size": 32}
    flags += tuple(part for name, value in learning.items() for part in ("--set", f"learning.{name}={value}"))
    queued = platform.run("train", str(folder), "--name", "team", "--workers", "2", *flags, "--no-wait", "--json").stdout
    job = started(client, json.loads(queued)["job"], 2)
    workers = workers_of(job.pid)
    assert len(workers) == 2
    workers[1].kill()
    ended = client.jobs.wait(job.id)
    assert ended.attempt == 1, "the job itself was not started again"
    log = client.jobs.log(job.id).text
    assert "A worker was lost; all start again from the last checkpoint (1 of 3)" in log
    assert "onnx" not in log, "what libraries say to each other is not the owner's concern"
    together = client.trained(ended)
    assert together.report["training"]["workers"] == 2
    history = together.report["training"]["history"]
    assert len(history) == 8
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    assert together.metrics["accuracy"] > 0.3


@pytest.mark.timeout(300)
def test_a_cancelled_job_ends_all_its_workers_and_one_that_asks_for_too_many_cores_is_refused(client, folder):
    endless = TOGETHER | {"learning": TOGETHER["learning"] | {"epochs": 5000, "workers": 2}}
    job = started(client, client.submit_training(folder, name="endless", recipe=endless).id, 1)
    workers = workers_of(job.pid)
    client.jobs.cancel(job.id)
    with pytest.raises(JobFailed, match="cancelled"):
        client.jobs.wait(job.id)
    assert len(workers) == 2
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    many = endless | {"learning": endless["learning"] | {"workers": 64}}
    with pytest.raises(InvalidRequest, match="needs more than the pool has: 64 cores of"):
        client.submit_training(folder, name="endless", recipe=many)

"""Training and predictions on a Ray cluster of two nodes, and on one that a job starts for itself: the same as without."""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray stays on loopback; it reads this when it loads
ray = pytest.importorskip("ray", reason="the extra ray is not installed")

from ray.cluster_utils import Cluster as Nodes  # noqa: E402
from ray.exceptions import RayActorError  # noqa: E402
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError  # noqa: E402
from ray.train.v2.api.exceptions import WorkerGroupError  # noqa: E402

from digits import write_folder  # noqa: E402
from example_scripts import run_example  # noqa: E402
from integration.served import classifier  # noqa: E402
from modelyard.core.errors import InvalidRequest, JobFailed, Unavailable  # noqa: E402
from modelyard.engines.cluster import Cluster  # noqa: E402
from modelyard.engines.ray_cluster import _place, joined  # noqa: E402
from modelyard.jobs.folder import Outcome  # noqa: E402
from modelyard.scoring import spread  # noqa: E402
from modelyard.sdk.client import Client  # noqa: E402
from modelyard.testing.platform import free_port, running_platform  # noqa: E402
from modelyard.train.networks.checkpoint import Checkpoints, FolderShelf  # noqa: E402
from modelyard.train.networks.distributed.order import Order  # noqa: E402
from modelyard.train.networks.distributed.post import FolderPost  # noqa: E402
from modelyard.train.networks.distributed.ray_post import Desk, _lay, posted  # noqa: E402
from modelyard.train.networks.distributed.ray_start import _sentence  # noqa: E402
from modelyard.train.networks.lesson import Lesson  # noqa: E402
from modelyard.train.networks.objectives import Classes  # noqa: E402
from modelyard.train.recipes.learning import Learning  # noqa: E402
from mortal import Mortal  # noqa: E402
from points import Fatal, Points  # noqa: E402
from workers import network, same, train_points  # noqa: E402

PENGUINS = Path(__file__).parents[3] / "examples/data/penguins.csv"
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # Ray warns of itself when it loads


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of one core each, that share no more with the test than the machine."""
    wanted = {"GLOO_SOCKET_IFNAME": "lo", "RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
    wanted["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ |= wanted
    node = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=node)
    nodes.add_node(**node)
    yield Cluster(address=nodes.address, wait_seconds=60)
    nodes.shutdown()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def test_two_workers_on_two_nodes_end_as_one_process_also_when_one_is_killed(cluster, tmp_path):
    alone, calm, _ = train_points(tmp_path / "alone", Points(101, shaking=0), batch_size=16)
    fatal = Fatal(tmp_path / "mark", at=10, times=1, count=101, shaking=0)
    together, fit, told = train_points(tmp_path / "two", fatal, cluster, batch_size=8, workers=2, engine="ray")
    assert fatal.mark.exists(), "worker 1 was killed in the middle of an epoch"
    assert fit.resumed_at == 1
    same(together, alone, rtol=1e-4, atol=1e-5)
    assert [entry["loss"] for entry in fit.history] == pytest.approx([entry["loss"] for entry in calm.history], rel=1e-4)
    assert told[-1][0] == 1.0
    assert "epoch 3 of 3" in told[-1][1]
    assert list((tmp_path / "two/state").glob("*.checkpoint")), "checkpoints come home"
    assert not (tmp_path / "two/team").exists()


def test_what_comes_to_the_desk_is_laid_into_the_jobs_folders(tmp_path):
    desk, folder, shelf = Desk(b"old"), FolderPost(tmp_path), FolderShelf(tmp_path / "state")
    assert desk.newest() == b"old"
    desk.tell(0.5, "half")
    desk.keep(7, b"new")
    desk.refuse(1, JobFailed, "The loss became nan.")
    _lay(desk.news(), folder, shelf)
    assert desk.newest() == b"new"
    assert [content for _, content in shelf.contents()] == [b"new"]
    assert folder.refusal() == Outcome(error="The loss became nan.", code="job_failed")
    assert desk.refused()
    assert b"half" in (tmp_path / "progress.jsonl").read_bytes()
    _lay(desk.news(), folder, FolderShelf(tmp_path / "other"))
    assert not list((tmp_path / "other").iterdir()), "what was laid is not laid again"


def test_the_desk_stands_where_the_job_is_and_is_missed_when_it_is_lost(cluster, tmp_path):
    lesson = Lesson(network(), Classes(), Points(8), Points(4), seed=1)
    order = Order(lesson, Learning(workers=2), Checkpoints(tmp_path / "state", "f", 0), 1)

    def lose():
        with posted(order, FolderPost(tmp_path)) as post:
            where = post._desk.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())
            assert ray.get(where) == ray.get_runtime_context().get_node_id()
            ray.kill(post._desk)

    with joined(cluster, 1), pytest.raises(RayActorError):
        lose()


def test_folders_of_jobs_that_were_killed_are_cleared_and_those_in_use_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "modelyard-ray-left"
    left.mkdir()
    (left / "lock").touch()
    with _place() as used, _place() as other:
        assert not left.exists()
        assert used.exists()
        assert other != used
    assert not list(tmp_path.iterdir())


def test_whoever_was_lost_is_named_and_not_those_whom_that_left_alone():
    failures = {0: RuntimeError("Connection closed by peer"), 1: WorkerHealthCheckFailedError("of worker 1", RayActorError())}
    told = _sentence(WorkerGroupError("all", failures), Learning(workers=2, restarts=0))
    assert told.startswith("Worker 1 of 2 (counted from 0) was lost: killed, as the system does when memory runs out, or with its machine;")
    told = _sentence(WorkerGroupError("all", {0: ValueError("first\nno such thing")}), Learning(workers=2))
    assert told.startswith("Worker 0 of 2 (counted from 0) ended with no such thing, and 3 new starts did not help; the last checkpoint")


def test_a_cluster_without_room_and_one_that_is_not_there_are_told_in_time(cluster, tmp_path):
    hurried = Cluster(address=cluster.address, wait_seconds=0.5)
    with pytest.raises(Unavailable, match=r"had no room for 3 CPU within 0.5 s: it has 2 CPU, of which [0-2] CPU is free"):
        train_points(tmp_path, Points(101), hurried, batch_size=8, workers=3, engine="ray")
    nobody = Cluster(address=f"127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=r"No Ray cluster answers at 127.0.0.1:\d+ \(Connection refused\)"):
        train_points(tmp_path, Points(101), nobody, batch_size=8, workers=2, engine="ray")
    with pytest.raises(InvalidRequest, match=r"'ray://127.0.0.1:10001' is none; let this machine join"):
        train_points(tmp_path, Points(101), Cluster(address="ray://127.0.0.1:10001"), batch_size=8, workers=2, engine="ray")


@pytest.fixture(scope="module")
def platform(cluster, tmp_path_factory):
    with running_platform(tmp_path_factory.mktemp("ray") / "home", workers=1, settings={"ray_address": cluster.address}) as running:
        yield running


def test_a_platform_trains_on_its_cluster_what_one_process_learns(platform, tmp_path):
    folder = write_folder(tmp_path / "digits", 200)
    said = run_example(platform, "train_with_workers", folder, 2, "ray").splitlines()
    losses = [float(re.search(r"validation loss ([\d.]+)", line)[1]) for line in said]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert said[1].startswith("digits@2, 2 workers, engine ray:")


def test_a_file_is_answered_by_the_clusters_cores_as_by_this_machine(platform, tmp_path):
    with Client(platform.url, platform.admin_key) as client:
        client.train(PENGUINS, "species", name="penguins", recipe={"families": ["tree"], "folds": 2, "budget": {"trials": 1}})
        found = []
        for engine in ("local", "ray"):
            with io.BytesIO() as out:
                job = client.predict_file("penguins@1", PENGUINS, out, options={"form": "csv", "engine": engine})
                found.append(out.getvalue())
    assert found[1] == found[0]
    assert re.search(r"Processes of the Ray cluster that compute: [12]\n", platform.run("logs", str(job.id)).stdout)


ENDLESS = {"epochs": 5000, "patience": None, "workers": 2, "engine": "ray", "checkpoint_seconds": 0}


def test_a_cancelled_training_gives_its_cores_back_and_keeps_its_checkpoint(platform, cluster, tmp_path):
    recipe = {"kind": "images", "network": {"kind": "lenet", "width": 4}, "learning": ENDLESS}
    with Client(platform.url, platform.admin_key) as client:
        job = client.submit_training(write_folder(tmp_path / "few", 100), name="endless", recipe=recipe)
        until = time.monotonic() + 120
        while "epoch" not in (now := client.jobs.get(job.id)).progress.message:
            assert not now.status.ended, now.error
            assert time.monotonic() < until, now.progress
            time.sleep(0.1)
        client.jobs.cancel(job.id)
        with pytest.raises(JobFailed, match="cancelled"):
            client.jobs.wait(job.id)
    assert list((platform.home / "jobs" / str(job.id) / "state").rglob("*.checkpoint"))
    with joined(cluster, 2):
        until = time.monotonic() + 60
        while ray.available_resources().get("CPU") != 2:
            assert time.monotonic() < until, ray.available_resources()
            time.sleep(0.1)


def test_calls_of_a_file_wait_neither_for_a_lost_copy_nor_for_one_without_room(cluster, tmp_path, monkeypatch):
    classifier(tmp_path / "model.onnx", echo=False)
    mark = tmp_path / "deaths"
    mark.write_text("1")
    calls = [{"mass": np.full((3, 1), at, np.float32), "island": np.full((3, 1), str(mark), object)} for at in range(-6, 6)]
    monkeypatch.setattr(spread, "_RESTARTS", 1)
    monkeypatch.setattr(spread, "_Holder", Mortal)
    # What was free a moment ago: two of these copies find no room.
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 4.0})
    with spread.spread(cluster, tmp_path, "model.onnx", 1) as model, ThreadPoolExecutor(4) as threads:
        assert model.concurrency == 4
        found = list(threads.map(model.infer, calls))
        assert mark.read_text() == "0", "one copy was killed"
        assert [answer["label"].tolist() for answer in found] == [["Adelie" if at <= 0 else "Gentoo"] * 3 for at in range(-6, 6)]
        mark.write_text("9")
        with pytest.raises(
            JobFailed,
            match=r"The Ray cluster lost 2 processes that computed the same rows\. What is answered already is kept; resume the job\.",
        ):
            model.infer(calls[0])


def marked_processes_with(mark):
    name, _, value = mark.partition("=")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(name) == value:
                found.append(process.pid)
    return found


OWN = """
import sys
from pathlib import Path
import torch
from points import Points
from workers import train_points
module, _, _ = train_points(Path(sys.argv[1]) / "own", Points(101, shaking=0), batch_size=8, epochs=1, workers=2, engine="ray")
torch.save(module.state_dict(), sys.argv[2])
"""


def test_a_job_starts_a_cluster_for_itself_and_ends_it(tmp_path):
    places = set(Path(tempfile.gettempdir()).glob("modelyard-ray-*"))
    alone, _, _ = train_points(tmp_path / "alone", Points(101, shaking=0), batch_size=16, epochs=1)
    mark = f"OWN_CLUSTER={tmp_path}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OWN_CLUSTER": str(tmp_path)}
    subprocess.run([sys.executable, "-c", OWN, str(tmp_path), str(tmp_path / "weights.pt")], env=environment, check=True, timeout=280)
    for name, value in torch.load(tmp_path / "weights.pt", weights_only=True).items():
        torch.testing.assert_close(value, alone.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert set(Path(tempfile.gettempdir()).glob("modelyard-ray-*")) == places
    until = time.monotonic() + 20
    while left := marked_processes_with(mark):
        assert time.monotonic() < until, left
        time.sleep(0.1)

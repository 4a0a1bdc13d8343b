"""What the controller does with wishes of a container contract: of a real database, with models that are only told of."""

import errno
import threading

import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.deployments import Target
from modelyard.core.errors import InvalidArtifact, NotFound, Unavailable
from modelyard.core.events import Actor
from modelyard.core.hosting import NAME_TAG, URL_TAG, Came, Verb, Wish
from modelyard.core.models import Artifact, ArtifactFile, Profile, Version
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.registry.service import Registry
from modelyard.serving.deployments import DeploymentService
from modelyard.serving.hosting import HostOptions, ModelHost, deployment_name
from modelyard.serving.hosting_files import HostingFiles
from modelyard.serving.reports import VersionReport, WorkerReport
from modelyard.store.blobs import Blobs
from modelyard.store.database import Store

SIZE = 1000


class Bench:
    """A host whose models take what ``sizes`` says, and whose workers follow at once."""

    def __init__(self, folder):
        self.store = Store.open(f"sqlite:///{folder / 'test.db'}", ManualClock())
        self.store.migrate()
        self.files, self.broken, self.failing, self.sizes = HostingFiles(folder / "hosting"), {}, "", {}
        self.registry = Registry(self.store, Blobs.open(str(folder / "blobs"), folder / "tmp"), None, ManualClock())
        self.deployments = DeploymentService(self.store, self.reports)
        options = HostOptions(memory_bytes=5 * SIZE, workers=2)
        self.host = ModelHost(self.files, self.bring, self.registry, self.deployments, propagate=lambda: True, options=options)

    def bring(self, actor: Actor, name, url, tags):
        if url in self.broken:
            raise self.broken[url]
        with self.store.write() as session:
            model = session.models.ensure(1, name)
            file = ArtifactFile(path="model.onnx", digest="e" * 64, size=self.sizes.get(url, SIZE))
            return session.versions.add(
                Version(
                    id=0,
                    workspace_id=1,
                    model_id=model.id,
                    model=name,
                    number=0,
                    artifact=Artifact(format="onnx", digest="d" * 64, files=(file,), entry="model.onnx"),
                    signature=Signature(inputs=(X,), outputs=(X,)),
                    profile=Profile(inline=True),
                    tags=dict(tags),
                )
            )

    def reports(self):
        state = "failed" if self.failing else "ready"
        versions = {number: VersionReport(state=state, reason=self.failing) for number in range(1, 20)}
        deployments = dict.fromkeys(range(1, 20), 1)
        return [WorkerReport(slot=0, pid=1, snapshot=1, written_ns=0, versions=versions, deployments=deployments)]

    def wish(self, verb, name, url="/m"):
        """What a worker hears."""
        found = []
        asking = threading.Thread(target=lambda: found.append(self.files.ask(Wish(verb=verb, name=name, url=url), 20.0)))
        asking.start()
        while asking.is_alive():
            self.host.step()
            asking.join(0.01)
        return found[0]

    def load(self, name, url="/m"):
        return self.wish(Verb.LOAD, name, url).came

    def unload(self, name):
        return self.wish(Verb.UNLOAD, name).came


X = TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4))


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def test_a_model_that_is_loaded_is_a_version_with_a_deployment(bench):
    assert bench.load("4f1c", "/opt/4f1c/model") is Came.DONE
    assert bench.registry.versions(1, "4f1c")[0].tags == {NAME_TAG: "4f1c", URL_TAG: "/opt/4f1c/model"}
    assert bench.deployments.get(1, "4f1c").state == "ready"
    assert bench.load("4f1c", "/other") is Came.THERE


def test_a_name_that_cannot_name_a_deployment_gets_one_made_of_it(bench):
    assert deployment_name("4f1c") == "4f1c"
    assert deployment_name("A/b c") == deployment_name("A/b c") != deployment_name("A/b d")
    assert bench.load("A/b c") is Came.DONE
    assert [view.name for view in bench.deployments.list(1)] == [deployment_name("A/b c")]


def test_nothing_is_left_of_a_model_that_is_unloaded(bench):
    bench.load("a")
    assert bench.unload("a") is Came.DONE
    assert bench.deployments.list(1) == []
    with pytest.raises(NotFound):
        bench.registry.model(1, "a")
    assert bench.unload("a") is Came.NOT_THERE


def test_what_was_not_loaded_through_the_contract_is_not_unloaded_through_it(bench):
    version = bench.bring(None, "mine", "/m", {})
    bench.deployments.deploy(Actor(name="key:boss", workspace_id=1), "mine", [Target(model="mine", version=str(version.number))])
    assert bench.unload("mine") is Came.NOT_THERE
    assert bench.load("mine") is Came.THERE


def test_a_model_has_room_only_beside_those_that_are_there_in_every_worker(bench):
    assert [bench.load(name) for name in ("a", "b", "c")] == [Came.DONE, Came.DONE, Came.NO_ROOM]
    bench.unload("a")
    assert bench.load("c") is Came.DONE
    bench.sizes["/large"] = 4 * SIZE
    bench.unload("b")
    assert bench.load("d", "/large") is Came.NO_ROOM
    with pytest.raises(NotFound):
        bench.registry.model(1, "d")


@pytest.mark.parametrize(
    ("error", "came"),
    [
        (InvalidArtifact("No."), Came.REFUSED),
        (Unavailable("Busy."), Came.LATER),
        (OSError(errno.ENOSPC, "No space"), Came.NO_ROOM),
        (OSError(errno.EACCES, "Denied"), Came.REFUSED),
    ],
)
def test_what_is_wrong_with_a_model_is_told(bench, error, came):
    bench.broken["/bad"] = error
    told = bench.wish(Verb.LOAD, "a", "/bad")
    assert (told.came, bool(told.message)) == (came, True)
    assert bench.deployments.list(1) == []


def test_a_model_that_no_worker_can_load_is_taken_back(bench):
    bench.failing = "it is damaged"
    told = bench.wish(Verb.LOAD, "a")
    assert (told.came, "it is damaged" in told.message) == (Came.REFUSED, True)
    assert bench.deployments.list(1) == []


def test_an_answer_that_does_not_come_in_time_is_later(bench):
    assert bench.files.ask(Wish(verb=Verb.LOAD, name="a", url="/m"), 0.05).came is Came.LATER
    bench.host.step()  # it is carried out all the same, and the next one hears that it is there
    assert bench.load("a") is Came.THERE


def test_a_wish_that_is_half_written_is_none_yet(bench, tmp_path):
    (tmp_path / "hosting").mkdir()
    (tmp_path / "hosting" / ".1.wish").write_bytes(b'{"verb"')
    assert bench.files.pending() == []
    bench.host.step()


def test_an_answer_is_taken_away_by_whoever_asked(bench, tmp_path):
    bench.load("a")
    assert list((tmp_path / "hosting").iterdir()) == []

import asyncio
import threading
from contextlib import asynccontextmanager

import msgspec
import pytest

from modelyard.core.access import Grant
from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import InvalidArtifact, NotFound, Unavailable
from modelyard.gate.check import SnapshotHolder
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.reconciler import Reconciler, ReconcilerOptions
from modelyard.serving.reports import read_reports
from modelyard.store.snapshot import Snapshot
from modelyard.testing.fakes import FunctionLoader, FunctionModel, MemorySnapshots, served_deployment, served_version
from unit.serving.data_plane import call, rows, signature


class FakeSnapshot(Snapshot):
    """A snapshot of values."""

    def __init__(self, number, deployments, versions):
        self.number, self.created_ns = number, 1
        self.workspaces = {1: "default"}
        self.deployments = list(deployments)
        self.versions = {version.id: version for version in versions}
        self.shares = {}

    def grant(self, digest) -> Grant | None:
        return None


class Platform:
    def __init__(self, folder):
        self.snapshots, self.holder, self.plane = MemorySnapshots(), SnapshotHolder(), DataPlane()
        self.loader = FunctionLoader({})
        self.folder = folder
        self.options = ReconcilerOptions(slot=3, reports=folder, poll_s=0.001)
        self.reconciler = Reconciler(self.snapshots, self.holder, self.plane, self.loader, self.options)
        self.published = 0

    def adding(self, amount):
        return FunctionModel(signature(), lambda inputs: {"y": inputs["x"] + amount})

    def publish(self, deployments, versions):
        self.published += 1
        self.snapshots.publish(FakeSnapshot(self.published, deployments, versions))

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # what is waited for is a file or another object's state
                await asyncio.sleep(0.001)

    async def predict(self, **more):
        outcome = await call(self.plane, {"x": rows(1)}, **more)
        return outcome if isinstance(outcome, Exception) else outcome.outputs["y"][0, 0]

    def report(self):
        (report,) = read_reports(self.folder)
        return report


@asynccontextmanager
async def platform(folder):
    made = Platform(folder)
    task = asyncio.create_task(made.reconciler.run())
    try:
        yield made
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def run(main):
    asyncio.run(asyncio.wait_for(main, 20))


ONE, TWO = served_version(1, signature(), number=1), served_version(2, signature(), number=2)


def to(routes, revision=1, **more):
    return served_deployment("demo", routes, revision=revision, **more)


def test_a_deployment_is_served_once_its_version_is_loaded(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            made.loader.models[1] = made.adding(10)
            assert not made.plane.accepting
            made.publish([to({1: 100})], [ONE])
            await made.reconciler.settled.wait()
            assert made.plane.accepting
            assert await made.predict() == 11
            assert made.plane.state(1, "demo") == (DeploymentState.READY, "")
            assert made.holder.current.number == 1
            await made.until(lambda: made.report().deployments == {1: 1})
            report = made.report()
            assert (report.slot, report.snapshot, report.versions[1].state) == (3, 1, DeploymentState.READY)

    run(main())


def test_a_new_version_takes_over_without_a_failed_call_and_the_old_one_is_closed(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            old = made.adding(10)
            made.loader.models.update({1: old, 2: made.adding(20)})
            made.publish([to({1: 100})], [ONE])
            await made.reconciler.settled.wait()
            made.publish([to({2: 100}, revision=2)], [TWO])
            answers = []
            while not answers or answers[-1] != 21:
                answers.append(await made.predict())
            assert set(answers) <= {11, 21}
            await made.until(lambda: old.closed)
            await made.until(lambda: made.report().deployments == {1: 2})
            assert made.loader.loaded == [1, 2]

    run(main())


def test_keys_hold_before_versions_are_loaded(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            release = threading.Event()
            model = made.adding(1)

            class SlowLoader(FunctionLoader):
                def load(self, version):
                    release.wait(10)
                    return super().load(version)

            made.reconciler._loader = SlowLoader({1: model, 2: model})
            made.publish([to({1: 100})], [ONE])
            await made.until(lambda: made.holder.current.number == 1)
            assert isinstance(await made.predict(), Unavailable)
            await made.until(lambda: made.report().versions[1].state is DeploymentState.LOADING)
            made.publish([to({1: 100})], [ONE])
            await made.until(lambda: made.holder.current.number == 2)
            assert not made.reconciler.settled.is_set()
            release.set()
            await made.reconciler.settled.wait()
            assert await made.predict() == 2

    run(main())


def test_a_version_that_does_not_load_keeps_the_old_routes_and_is_reported(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            made.loader.models.update({1: made.adding(10), 2: InvalidArtifact("It has no such operator.")})
            made.publish([to({1: 100})], [ONE])
            await made.reconciler.settled.wait()
            made.publish([to({1: 50, 2: 50}, revision=2)], [ONE, TWO])
            await made.until(lambda: made.report().versions.get(2) is not None and made.report().versions[2].reason != "")
            assert made.report().versions[2].state is DeploymentState.FAILED
            assert {await made.predict() for _ in range(20)} == {11}
            assert made.plane.state(1, "demo") == (DeploymentState.DEGRADED, "m@2: It has no such operator.")
            made.publish([to({1: 100}, revision=3)], [ONE])
            await made.until(lambda: made.plane.state(1, "demo")[0] is DeploymentState.READY)

    run(main())


def test_what_failed_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("modelyard.serving.reconciler._FIRST_RETRY_S", 0.01)

    async def main():
        async with platform(tmp_path) as made:
            made.loader.models[1] = Unavailable("The store of blobs is away.")
            made.publish([to({1: 100})], [ONE])
            await made.until(lambda: made.plane.names(1) and made.plane.state(1, "demo")[0] is DeploymentState.FAILED)
            made.loader.models[1] = made.adding(5)
            await made.until(lambda: made.plane.state(1, "demo")[0] is DeploymentState.READY)
            assert await made.predict() == 6

    run(main())


def test_a_new_deployment_serves_what_loads_of_it(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            made.loader.models.update({1: made.adding(10), 2: InvalidArtifact("Broken.")})
            made.publish([to({1: 50, 2: 50})], [ONE, TWO])
            await made.reconciler.settled.wait()
            assert {await made.predict() for _ in range(20)} == {11}
            assert made.plane.state(1, "demo")[0] is DeploymentState.DEGRADED

    run(main())


def test_an_ended_or_renamed_deployment_goes_and_its_version_is_closed(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            model = made.adding(1)
            made.loader.models[1] = model
            made.publish([to({1: 100})], [ONE])
            await made.reconciler.settled.wait()
            made.publish([], [])
            await made.until(lambda: model.closed)
            assert isinstance(await made.predict(), NotFound)
            assert made.report().versions == {}

    run(main())


def test_a_moved_alias_selects_at_once_without_loading(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            made.loader.models.update({1: made.adding(10), 2: made.adding(20)})
            made.publish([to({1: 50, 2: 50})], [msgspec.structs.replace(ONE, aliases=("champion",)), TWO])
            await made.reconciler.settled.wait()
            assert await made.predict(version="champion") == 11
            made.publish([to({1: 50, 2: 50})], [ONE, msgspec.structs.replace(TWO, aliases=("champion",))])
            await made.until(lambda: made.holder.current.number == 2)
            assert await made.predict(version="champion") == 21
            assert made.loader.loaded == [1, 2]

    run(main())


def test_counts_survive_a_change_of_routes(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            made.loader.models.update({1: made.adding(10), 2: made.adding(20)})
            made.publish([to({1: 100})], [ONE])
            await made.reconciler.settled.wait()
            await made.predict()
            made.publish([to({1: 50, 2: 50}, revision=2)], [ONE, TWO])
            await made.until(lambda: len(made.plane.lanes(1, "demo")) == 2)
            assert made.plane.served(1, "demo", "1").statistics.succeeded == 1

    run(main())


def test_a_snapshot_that_cannot_be_read_leaves_everything_as_it_is(tmp_path):
    async def main():
        async with platform(tmp_path) as made:
            made.loader.models[1] = made.adding(1)
            made.publish([to({1: 100})], [ONE])
            await made.reconciler.settled.wait()
            made.snapshots.number, made.snapshots._snapshot = 2, None
            await asyncio.sleep(0.01)
            assert await made.predict() == 2
            made.published = 2
            made.publish([], [])
            await made.until(lambda: made.plane.names(1) == [])

    run(main())


def test_an_unexpected_error_of_a_loader_is_told_without_detail(tmp_path):
    class Broken(FunctionModel):
        @property
        def signature(self):
            raise ZeroDivisionError("secret")

        @signature.setter
        def signature(self, value):
            pass

    async def main():
        async with platform(tmp_path) as made:
            made.loader.models[1] = Broken(signature(), dict)
            made.publish([to({1: 100})], [ONE])
            await made.reconciler.settled.wait()
            state, reason = made.plane.state(1, "demo")
            assert state is DeploymentState.FAILED
            assert "secret" not in reason

    run(main())

"""Versions in and out of memory, through a real reconciler."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import DeadlineExceeded, InvalidArtifact
from modelyard.core.models import Profile
from modelyard.serving.reconciler import Reconciler
from modelyard.testing.fakes import served_deployment, served_version
from unit.serving.data_plane import call, rows, signature
from unit.serving.test_reconciler import Platform, run

MEGABYTE = 1 << 20
PROFILE = Profile(row_independent=True, inline=True, memory_bytes=10 * MEGABYTE)


class Small(Platform):
    """Five versions of 10 MB each, in deployments of their own, and memory for two."""

    def __init__(self, folder, budget=25 * MEGABYTE):
        super().__init__(folder)
        self.options = replace(self.options, memory_bytes=budget)
        self.reconciler = Reconciler(self.snapshots, self.holder, self.plane, self.loader, self.options)
        self.models = {number: self.adding(10 * number) for number in range(1, 6)}
        self.loader.models.update(self.models)

    def serve(self, numbers=range(1, 6)):
        versions = [served_version(number, signature(), number=number, profile=PROFILE) for number in numbers]
        self.publish([served_deployment(f"d{number}", {number: 100}, deployment_id=number) for number in numbers], versions)

    async def ask(self, number, **more):
        return await call(self.plane, {"x": rows(1)}, name=f"d{number}", **more)

    def inside(self):
        return {number for number, batcher in self.reconciler._batchers.items() if batcher.replica.replica is not None}


async def begun(made):
    task = asyncio.create_task(made.reconciler.run())
    made.serve()
    await made.reconciler.settled.wait()
    await made.until(lambda: len(made.reconciler._batchers) == 5)
    return task


async def ended(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_least_recently_used_leaves_and_a_call_brings_it_back(tmp_path):
    async def main():
        made = Small(tmp_path)
        task = await begun(made)
        assert made.inside() == {4, 5}
        assert (await made.ask(1)).outputs["y"][0, 0] == 11
        assert made.inside() == {1, 5}
        await made.until(lambda: made.models[4].closed)
        assert (await made.ask(5)).outputs["y"][0, 0] == 51
        assert (await made.ask(2)).outputs["y"][0, 0] == 21
        assert made.inside() == {2, 5}
        assert made.loader.loaded == [1, 2, 3, 4, 5, 1, 2]
        assert made.plane.state(1, "d3") == (DeploymentState.READY, "")
        await made.until(lambda: {number for number, told in made.report().versions.items() if told.in_memory} == {2, 5})
        await ended(task)

    run(main())


def test_many_calls_at_once_wait_for_one_load(tmp_path):
    async def main():
        made = Small(tmp_path)
        task = await begun(made)
        outcomes = await asyncio.gather(*[made.ask(1) for _ in range(50)])
        assert {outcome.outputs["y"][0, 0] for outcome in outcomes} == {11}
        assert made.loader.loaded.count(1) == 2
        await ended(task)

    run(main())


def test_a_call_that_waits_for_a_load_keeps_its_own_deadline(tmp_path):
    async def main():
        made = Small(tmp_path)
        task = await begun(made)
        release = threading.Event()
        load = made.loader.load
        made.loader.load = lambda version: (release.wait(20), load(version))[1]
        made.reconciler._residency._load = made.loader.load
        patient = asyncio.ensure_future(made.ask(1))
        hasty = await made.ask(1, deadline_ns=time.monotonic_ns() + 100_000_000)
        assert isinstance(hasty, DeadlineExceeded)
        assert not patient.done()
        release.set()
        assert (await patient).outputs["y"][0, 0] == 11
        await ended(task)

    run(main())


def test_a_version_that_cannot_be_loaded_again_says_why_and_is_tried_again(tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr("modelyard.serving.residency.RETRY_S", 0.05)
        made = Small(tmp_path)
        task = await begun(made)
        made.loader.models[1] = InvalidArtifact("Its files are damaged.")
        assert (await made.ask(1)).message == "Its files are damaged."
        made.loader.models[1] = made.adding(70)
        async with asyncio.timeout(10):
            while isinstance(await made.ask(1), InvalidArtifact):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await made.ask(1)).outputs["y"][0, 0] == 71
        await ended(task)

    run(main())


def test_versions_that_are_served_no_more_are_closed_in_memory_or_not(tmp_path):
    async def main():
        made = Small(tmp_path)
        task = await begun(made)
        made.serve([1])
        await made.until(lambda: all(model.closed for number, model in made.models.items()))
        await made.until(lambda: set(made.reconciler._batchers) == {1})
        assert (await made.ask(1)).outputs["y"][0, 0] == 11
        await ended(task)

    run(main())


def test_without_a_budget_nothing_stands_between(tmp_path):
    async def main():
        made = Small(tmp_path, budget=0)
        task = await begun(made)
        assert made.loader.loaded == [1, 2, 3, 4, 5]
        assert all(type(batcher.replica).__name__ == "Replica" for batcher in made.reconciler._batchers.values())
        await ended(task)

    run(main())


def test_one_version_larger_than_the_budget_is_served_all_the_same(tmp_path):
    async def main():
        made = Small(tmp_path, budget=MEGABYTE)
        task = await begun(made)
        for number in (1, 2, 1, 5):
            assert (await made.ask(number)).outputs["y"][0, 0] == 10 * number + 1
            assert len(made.inside()) <= 1
        await ended(task)

    run(main())

"""Who starts, when, with what of the machine, and who is ended: a fleet over an engine that only remembers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from modelyard.core.deployments import ReplicaPolicy
from modelyard.core.errors import Internal, Unavailable
from modelyard.core.models import Profile
from modelyard.engines.base import Ending, TaskStatus
from modelyard.serving.replicas import fleet as fleets
from modelyard.serving.replicas import member as members
from modelyard.serving.replicas.fleet import Fleet, FleetOptions
from modelyard.serving.replicas.member import Prepared
from modelyard.serving.replicas.places import Demand, DirectoryFile
from modelyard.serving.replicas.server import ReplicaServer
from modelyard.serving.replicas.sockets import SOCKET, listening
from modelyard.testing.fakes import FunctionModel, MemorySnapshots, served_version
from unit.serving.data_plane import doubling, rows, signature
from unit.serving.replicas.ends import run, until


class Engine:
    """Starts nothing: a test says what became of each task."""

    def __init__(self):
        self.tasks, self.endings, self.stopped, self.refuse = {}, {}, [], False

    def start_replica(self, task):
        if self.refuse:
            raise Unavailable("There is no process to be had.")
        handle = str(len(self.tasks))
        self.tasks[handle] = task
        return handle

    def status(self, handle):
        ending, code = self.endings.get(handle, (None, 0))
        return TaskStatus(pid=1000 + int(handle), ending=ending, exit_code=code)

    def stop_replica(self, handle):
        self.stopped.append(handle)
        self.endings[handle] = (Ending.CANCELLED, 0)

    def forget(self, handle):
        pass

    def reclaim(self, folder):
        return 0


class Bench:
    def __init__(self, folder: Path, *, gpus=(), demand=None):
        self.engine, self.snapshots = Engine(), MemorySnapshots()
        self.file = DirectoryFile(folder)
        options = FleetOptions(folder=folder / "replicas", logs=folder, gpus=gpus)
        artifact = folder / "artifact"
        artifact.mkdir()
        prepared = Prepared(artifact=artifact, command=("serve",))
        self.fleet = Fleet(self.engine, self.snapshots, lambda: demand or {}, lambda _: prepared, directory=self.file, options=options)
        self.servers, self.directory = [], {}

    def wish(self, *policies):
        """Publishes versions 1, 2 … with these policies."""
        plain = {number: served_version(number, signature(), profile=Profile()) for number in range(1, len(policies) + 1)}
        versions = {number: replace(version, replicas=policies[number - 1]) for number, version in plain.items()}
        self.snapshots.publish(SimpleNamespace(number=self.snapshots.number + 1, versions=versions))

    async def start(self, handle, model, **options):
        server = ReplicaServer(model, **options)
        await server.serve(listening(self.engine.tasks[handle].folder / SOCKET))
        self.servers.append(server)

    async def looking(self, check):
        """Looks until something is so."""

        def looked():
            self.fleet.look()
            return check()

        await until(looked)

    def places(self, version_id=1):
        return self._told(version_id)

    def _told(self, version_id):
        self.directory = self.file.changed() or self.directory
        return self.directory[version_id]

    async def close(self):
        for server in self.servers:
            with suppress(TimeoutError):
                await server.drain(1)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_replicas_start_with_what_the_policy_gives_them_and_gpus_of_their_own(tmp_path):
    async def main():
        bench = Bench(tmp_path, gpus=("4", "5", "7"))
        policies = [
            ReplicaPolicy(min=1, gpus=2, threads=3, memory_bytes=1 << 30),
            ReplicaPolicy(min=1, gpus=1),
            ReplicaPolicy(min=1, gpus=1),
        ]
        for count in (1, 2):  # one after the other, for they are prepared in threads
            bench.wish(*policies[:count])
            await bench.looking(lambda count=count: len(bench.engine.tasks) == count)
        bench.wish(*policies)
        await bench.looking(lambda: "needs 1 GPUs" in bench.places(3).reason)
        first, second = bench.engine.tasks.values()
        assert (first.environment["CUDA_VISIBLE_DEVICES"], second.environment["CUDA_VISIBLE_DEVICES"]) == ("4,5", "7")
        assert (first.memory_bytes, first.environment["OMP_NUM_THREADS"]) == (1 << 30, "3")
        assert bench.places(3).reason == "it needs 1 GPUs and 0 of this machine's 3 are free"
        bench.engine.endings["1"] = (Ending.EXITED, 0)  # its GPU goes to whoever needs one
        await bench.looking(lambda: len(bench.engine.tasks) >= 3)
        assert list(bench.engine.tasks.values())[2].environment["CUDA_VISIBLE_DEVICES"] == "7"

    run(main)


def test_starts_in_vain_are_tried_again_after_longer_and_longer_pauses(bench, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(fleets, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def main():
        bench.wish(ReplicaPolicy(min=1))
        began = []
        for _ in range(400):
            bench.fleet.look()
            await asyncio.sleep(0.001)
            for handle in bench.engine.tasks.keys() - bench.engine.endings.keys():
                began.append(now[0])
                bench.engine.endings[handle] = (Ending.EXITED, 3)
            now[0] += 0.1
        pauses = [later - sooner for sooner, later in pairwise(began)]
        assert len(pauses) >= 5
        assert all(later > 1.5 * sooner for sooner, later in pairwise(pauses[1:6]))
        assert bench.places().reason == "its process ended with status 3; its log says why"
        bench.wish(ReplicaPolicy(min=1, threads=2))  # another policy may help, and is tried at once
        count = len(bench.engine.tasks)
        bench.fleet.look()
        assert len(bench.engine.tasks) == count + 1

    run(main)


@pytest.mark.parametrize(
    ("ending", "said"),
    [((Ending.MEMORY, 0), "more memory than its 1000000 bytes; raise memory_bytes"), ((Ending.CRASHED, -11), "ended by signal 11")],
)
def test_why_a_replica_ended_is_told_once_it_happens_again_and_again(bench, monkeypatch, ending, said):
    monkeypatch.setattr(fleets, "FIRST_DELAY_S", 0.001)

    async def main():
        bench.wish(ReplicaPolicy(min=1, memory_bytes=1_000_000))

        def told():
            bench.engine.endings = dict.fromkeys(bench.engine.tasks, ending)
            return bench.engine.tasks and bench.places().reason

        await bench.looking(told)
        assert said in bench.places().reason
        assert len(bench.engine.tasks) >= fleets.PATIENT_DEATHS

    run(main)


def test_a_model_that_fails_its_trial_twice_is_ended_and_started_again(bench, monkeypatch):
    monkeypatch.setattr(members, "HEALTH_S", 0.02)
    well = [True]

    def compute(inputs):
        if not well[0]:
            raise Internal("The library fails.")
        return {"y": inputs["x"]}

    async def main():
        bench.wish(ReplicaPolicy(min=1))
        await bench.looking(lambda: bench.engine.tasks)
        await bench.start("0", FunctionModel(signature(), compute), trial={"x": rows(1)})
        await bench.looking(lambda: bench.places().ready == 1)
        for _ in range(20):
            bench.fleet.look()
            await asyncio.sleep(0.01)
        assert not bench.engine.stopped
        well[0] = False
        await bench.looking(lambda: bench.engine.stopped == ["0"])
        await bench.looking(lambda: len(bench.engine.tasks) == 2)
        await bench.close()

    run(main)


def test_nobody_calls_and_the_last_one_goes_and_comes_with_the_next_call(tmp_path):
    demand = {}

    async def main():
        bench = Bench(tmp_path, demand=demand)
        bench.wish(ReplicaPolicy(min=0, max=2, idle_seconds=0.05))
        for _ in range(5):
            bench.fleet.look()
        assert not bench.engine.tasks
        demand[1] = Demand(outstanding=1, calls=1)
        await bench.looking(lambda: bench.engine.tasks)
        await bench.start("0", doubling())
        await bench.looking(lambda: bench.places().ready == 1)
        demand[1] = Demand(outstanding=0, calls=1)
        await bench.looking(lambda: bench.engine.stopped == ["0"])
        await bench.looking(lambda: not bench.places().replicas)
        await bench.close()

    run(main)

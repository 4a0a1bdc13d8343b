"""Counting, shadows and their place in front of a version."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import Internal, InvalidRequest
from modelyard.core.rollout import Tally, Told
from modelyard.core.usage import CallKind
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.policies import PolicyComposer, PolicyTools
from modelyard.serving.shadow import agreement
from modelyard.serving.tallies import Tallies, merged, read_tallies, tallies_path
from modelyard.testing.fakes import FunctionModel, served_deployment, served_version
from unit.serving.data_plane import SLOW, batcher, call, lane, rows, signature


class Served:
    """A data plane with one deployment ``demo``: version 1 answers, version 2 is the shadow."""

    def __init__(self, folder, policy, shadow, *, weights=None, **options):
        loop = asyncio.get_running_loop()
        self.folder, self.records = folder, []
        self.tallies = Tallies(tallies_path(folder, 0), loop.call_later)
        tools = PolicyTools(tallies=self.tallies, later=loop.call_later, append=lambda *record: self.records.append(record))
        self.composer = PolicyComposer(tools)
        executor = ThreadPoolExecutor(2)
        models = {1: FunctionModel(signature(), lambda inputs: {"y": inputs["x"] * 2}), 2: FunctionModel(signature(), shadow)}
        weights = weights or {1: 100, 2: 0}
        self.batchers = {identity: batcher(model, executor, **options if identity == 2 else {}) for identity, model in models.items()}
        self.lanes = [
            lane(served_version(identity, signature(), number=identity), self.batchers[identity], weights[identity]) for identity in models
        ]
        deployment = msgspec.structs.replace(served_deployment("demo", weights), policy=policy, references={"m@2": 2})
        self.plane = DataPlane()
        self.deployment = deployment
        self.compose()

    def compose(self):
        made = [lane(each.version, each.batcher, each.weight) for each in self.lanes]
        self.plane.put(self.composer.routes(self.deployment, made, DeploymentState.READY))

    def told(self) -> Told:
        return self.tallies.of(1, 1)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def run(main):
    asyncio.run(asyncio.wait_for(main, 30))


SHADOW = {"shadow": {"version": "m@2"}}


def test_copies_are_compared_recorded_and_not_the_callers_business(tmp_path):
    async def main():
        served = Served(tmp_path, SHADOW, lambda inputs: {"y": np.where(inputs["x"] > 5, inputs["x"], inputs["x"] * 2)})
        answers = await asyncio.gather(*[call(served.plane, {"x": rows(value)}) for value in range(10)])
        assert [answer.outputs["y"][0, 0] for answer in answers] == [2 * value for value in range(10)]
        assert {answer.version_id for answer in answers} == {11}
        await until(lambda: served.told().shadow.calls == 10)
        shadow = served.told().shadow
        assert (shadow.rows, shadow.agreed, shadow.errors, shadow.worst) == (10, 6, 0, 9.0)
        assert served.told().versions[1].calls == 10
        assert len(served.records) == 10
        (request_id, workspace, key, deployment), status, cost, _, kind, *_ = served.records[0]
        assert (len(request_id), workspace, key, deployment, status, kind, cost.version_id) == (16, 1, 0, 1, 200, CallKind.SHADOW, 11)

    run(main())


def test_calls_that_name_a_version_are_neither_copied_nor_counted(tmp_path):
    async def main():
        served = Served(tmp_path, SHADOW, lambda inputs: {"y": inputs["x"]})
        for version in ("1", "2"):
            await call(served.plane, {"x": rows(1)}, version=version)
        await asyncio.sleep(0.02)
        assert served.told().shadow.calls == 0
        assert served.told().versions[1].calls == 0
        view = served.plane.choose(1, "demo")
        await call(served.plane, {"x": rows(1)}, version=view.pin)
        await until(lambda: served.told().shadow.calls == 1)
        assert served.told().versions[1].calls == 1

    run(main())


def test_a_shadow_that_fails_or_hangs_is_not_felt(tmp_path):
    async def main():
        failing = Served(tmp_path, SHADOW, lambda inputs: 1 / 0)
        answers = await asyncio.gather(*[call(failing.plane, {"x": rows(value)}) for value in range(20)])
        assert all(not isinstance(answer, Exception) for answer in answers)
        await until(lambda: failing.told().shadow.errors == 20)

    run(main())


def test_what_a_slow_shadow_has_no_room_for_is_dropped(tmp_path):
    async def main():
        release = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(inputs):
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(20)
            return {"y": inputs["x"] * 2}

        served = Served(tmp_path, {"shadow": {"version": "m@2", "queue": 5}}, slow, timing=SLOW)
        for value in range(60):
            answer = await call(served.plane, {"x": rows(value)})
            assert answer.outputs["y"][0, 0] == 2 * value
        shadow = served.told().shadow
        assert shadow.calls == 0
        assert shadow.dropped >= 60 - 5 - 16
        release.set()
        await until(lambda: shadow.calls + shadow.dropped == 60)
        assert shadow.agreement == 1.0

    run(main())


def test_new_routes_stop_the_old_shadow_and_keep_the_counts(tmp_path):
    async def main():
        served = Served(tmp_path, SHADOW, lambda inputs: {"y": inputs["x"]})
        done = call(served.plane, {"x": rows(3)})
        served.compose()
        await done
        await asyncio.sleep(0.02)
        assert served.told().shadow.calls == 0  # its copy was due to the routes that are gone
        assert served.told().versions[1].calls == 1
        served.composer.keep(set())
        assert served.told().versions == {}

    run(main())


def test_an_objective_says_alone_who_would_be_late_and_only_while_it_is_kept(tmp_path):
    def looks_ahead(served):
        """Whether a call that cannot be answered in its time is refused by what runs take, although an objective would try it."""
        soon = time.monotonic_ns() + 1_000_000
        outcome = call(served.plane, {"x": rows(1)}, deadline_ns=soon)
        return outcome.done() and "calls are before this one" in str(outcome.result())

    async def main():
        served = Served(tmp_path, {"objective_ms": 60_000}, lambda inputs: inputs, weights={1: 100, 2: 0})
        first = served.batchers[1]
        first._busy, first._waiting, first._run_us, first._last_us = 1, 9, 1e6, 1e6  # nine calls wait, a second each
        assert not looks_ahead(served)
        served.deployment = msgspec.structs.replace(served.deployment, policy={})
        served.compose()
        assert looks_ahead(served)

    run(main())


def test_a_share_of_calls_is_copied(tmp_path):
    async def main():
        served = Served(tmp_path, {"shadow": {"version": "m@2", "percent": 25}}, lambda inputs: {"y": inputs["x"]})
        for _ in range(400):
            await call(served.plane, {"x": rows(1)})
        await until(lambda: not served.composer._shadows[1]._queue and not served.composer._shadows[1]._running)
        assert 60 < served.told().shadow.calls < 140

    run(main())


def test_errors_of_the_version_count_and_those_of_the_caller_do_not(tmp_path):
    async def main():
        outcomes = iter([Internal("It broke."), InvalidRequest("That is no row.")])

        def refuse(inputs):
            raise next(outcomes)

        served = Served(tmp_path, {"rollout": {"candidate": "m@2"}}, refuse, weights={1: 1, 2: 10**6})
        for _ in range(2):
            assert isinstance(await call(served.plane, {"x": rows(1)}), Exception)
        tally = served.told().versions[2]
        assert (tally.calls, tally.errors) == (1, 1)

    run(main())


def test_counts_survive_their_worker_and_are_added_up(tmp_path):
    later = []
    first = Tallies(tallies_path(tmp_path, 0), lambda _, step: later.append(step))
    told = first.of(1, 7)
    assert len(later) == 1
    first.changed()
    assert len(later) == 1
    told.versions[5] = Tally()
    told.versions[5].answered(1500.0)
    told.shadow.rows = 3
    later.pop()()
    again = Tallies(tallies_path(tmp_path, 0), lambda *_: None)
    assert again.of(1, 7).versions[5].calls == 1
    other = Tallies(tallies_path(tmp_path, 1), lambda *_: None)
    other.of(1, 7).versions[5] = Tally(calls=2, errors=2)
    other.of(2, 1)
    other.export()
    whole = merged(tmp_path, 1, 7)
    assert (whole.versions[5].calls, whole.versions[5].errors, whole.shadow.rows) == (3, 2, 3)
    assert merged(tmp_path, 1, 8).versions == {}
    assert again.of(1, 8).versions == {}
    tallies_path(tmp_path, 1).write_bytes(b"{")
    assert read_tallies(tallies_path(tmp_path, 1)) == []


def test_a_policy_that_cannot_be_read_is_left_out_and_told(tmp_path, caplog):
    async def main():
        served = Served(tmp_path, {"shadow": 5}, lambda inputs: {"y": inputs["x"]})
        assert (await call(served.plane, {"x": rows(1)})).version_id == 11

    run(main())
    assert "without its policy" in caplog.text


FLOATS = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@given(st.lists(FLOATS, min_size=1, max_size=20), st.floats(0, 0.5))
def test_anything_agrees_with_itself(values, tolerance):
    array = np.array(values, np.float32).reshape(-1, 1)
    agreed, worst = agreement({"y": array}, {"y": array.copy()}, (), tolerance)
    assert agreed.all()
    assert worst == 0.0


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted", "agreed"),
    [
        ({"y": np.array([1.0, 2.0])}, {"y": np.array([1.00001, 2.1])}, (), [True, False]),
        ({"y": np.array(["a", "b"], object)}, {"y": np.array(["a", "c"], object)}, (), [True, False]),
        ({"y": np.array([1, 2]), "z": np.array([[0.1], [0.2]])}, {"y": np.array([1, 2]), "z": np.array([[0.9], [0.2]])}, (), [False, True]),
        (
            {"y": np.array([1, 2]), "z": np.array([[0.1], [0.2]])},
            {"y": np.array([1, 2]), "z": np.array([[0.9], [0.2]])},
            ("y",),
            [True, True],
        ),
        ({"y": np.zeros((2, 3))}, {"y": np.zeros((2, 2))}, (), [False, False]),
        ({"y": np.array(1.0)}, {"y": np.array(1.0)}, (), [True]),
    ],
)
def test_rows_agree_where_every_compared_output_does(ours, theirs, wanted, agreed):
    assert agreement(ours, theirs, wanted, 1e-3)[0].tolist() == agreed

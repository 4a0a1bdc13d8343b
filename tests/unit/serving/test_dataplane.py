import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import InvalidTensor, LimitExceeded, NotFound, Unavailable
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.router import Routes
from modelyard.testing.fakes import served_deployment, served_version
from unit.serving.data_plane import batcher, call, doubling, lane, plane_with, rows


def run(main):
    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.fixture
def threads():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def two_versions(threads, weights=(90, 10)):
    model = doubling()
    made = batcher(model, threads)
    first = served_version(11, model.signature, number=1, aliases=("stable", "old"))
    second = served_version(12, model.signature, number=2, aliases=("canary",))
    deployment = served_deployment("demo", {11: weights[0], 12: weights[1]})
    return Routes(deployment, [lane(first, made, weights[0]), lane(second, made, weights[1])], DeploymentState.READY)


def test_traffic_is_shared_by_weight(threads):
    async def main():
        plane = DataPlane()
        plane.put(two_versions(threads))
        chosen = Counter(plane.choose(1, "demo").number for _ in range(5000))
        assert 350 < chosen[2] < 650

    run(main)


def test_a_version_without_weight_gets_only_calls_that_name_it(threads):
    async def main():
        plane = DataPlane()
        plane.put(two_versions(threads, (100, 0)))
        assert {plane.choose(1, "demo").number for _ in range(200)} == {1}
        assert plane.choose(1, "demo", "2").number == 2

    run(main)


def test_numbers_and_aliases_select(threads):
    async def main():
        plane = DataPlane()
        plane.put(two_versions(threads))
        assert plane.served(1, "demo", "2").number == plane.served(1, "demo", "canary").number == 2
        view = plane.served(1, "demo")
        assert (view.number, view.versions, view.labels) == (1, (1, 2), {"stable": 1, "old": 1, "canary": 2})
        with pytest.raises(NotFound, match="Did you mean 'canary'"):
            plane.served(1, "demo", "canari")
        assert isinstance(await call(plane, {"x": rows(1)}, version="3"), NotFound)

    run(main)


def test_names_of_other_workspaces_are_neither_found_nor_hinted_at(threads):
    async def main():
        plane = plane_with(batcher(doubling(), threads), doubling(), name="secret-model")
        outcome = await call(plane, {"x": rows(1)}, workspace=2, name="secret-mode")
        assert isinstance(outcome, NotFound)
        assert "secret-model" not in outcome.message
        with pytest.raises(NotFound, match="Did you mean 'secret-model'"):
            plane.served(1, "secret-mode")
        assert plane.names(2) == []

    run(main)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "missing"),
        ({"z": rows(1)}, "missing"),
        ({"x": rows(1), "z": rows(1)}, "no input 'z'"),
        ({"x": rows(1).astype(np.float64)}, "FP32"),
        ({"x": np.ones((1, 3), np.float32)}, r"shape \[-1, 2\]"),
        ({"x": np.ones(2, np.float32)}, "dimensions"),
        ({"x": np.float32(1) * np.ones((), np.float32)}, "dimensions"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_anything_runs(inputs, words, threads):
    async def main():
        model = doubling()
        plane = plane_with(batcher(model, threads), model)
        outcome = await call(plane, inputs)
        assert isinstance(outcome, InvalidTensor)
        assert __import__("re").search(words, outcome.message)
        assert model.runs == []
        assert plane.served(1, "demo").statistics.failed == 1

    run(main)


def test_unknown_outputs_are_refused_and_known_ones_are_given_alone(threads):
    async def main():
        model = doubling()
        plane = plane_with(batcher(model, threads), model)
        assert isinstance(await call(plane, {"x": rows(1)}, outputs=("z",)), InvalidTensor)
        assert list((await call(plane, {"x": rows(1)}, outputs=("y",))).outputs) == ["y"]

    run(main)


def test_no_rows_are_an_answer_too(threads):
    async def main():
        model = doubling()
        outcome = await call(plane_with(batcher(model, threads), model), {"x": np.empty((0, 2), np.float32)})
        assert (outcome.rows, outcome.outputs["y"].shape) == (0, (0, 2))

    run(main)


def test_what_is_not_loaded_is_unavailable_and_not_ready():
    async def main():
        plane = DataPlane()
        plane.put(Routes(served_deployment("demo", {11: 100}), [], DeploymentState.LOADING))
        plane.put(Routes(served_deployment("broken", {12: 100}, deployment_id=2), [], DeploymentState.FAILED, "m@1: no such operator"))
        assert isinstance(await call(plane, {}), Unavailable)
        outcome = await call(plane, {}, name="broken")
        assert "no such operator" in outcome.message
        assert not plane.ready(1, "demo")
        assert plane.lanes(1, "demo") == []
        with pytest.raises(NotFound):
            plane.ready(1, "other")

    run(main)


def test_an_ended_deployment_is_gone():
    async def main():
        plane = DataPlane()
        plane.put(Routes(served_deployment("demo", {}), [], DeploymentState.LOADING))
        plane.remove(1, "demo")
        assert isinstance(await call(plane, {}), NotFound)
        assert list(plane) == []

    run(main)


def test_a_limit_is_asked_once_the_rows_are_known_and_its_refusal_is_no_failure_of_the_model(threads):
    async def main():
        model = doubling()
        plane = plane_with(batcher(model, threads), model)
        asked = []

        def admit(number, version_id):
            asked.append((number, version_id))
            if number > 2:
                raise LimitExceeded("used up")

        assert (await call(plane, {"x": rows(1, 2)}, admit=admit)).rows == 2
        assert isinstance(await call(plane, {"x": rows(1, 2, 3)}, admit=admit), LimitExceeded)
        assert asked == [(2, 11), (3, 11)]
        ((_, _, _, statistics),) = plane.statistics()
        assert (statistics.succeeded, statistics.failed, len(model.runs)) == (1, 0, 1)

    run(main)

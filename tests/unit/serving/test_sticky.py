"""Sticky assignment, and what stands in front of a deployment's versions."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import NotFound
from modelyard.core.policy import Sticky
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.policies import Composer, PolicyComposer, PolicyTools
from modelyard.serving.router import pin_of
from modelyard.serving.sticky import StickyChoice
from modelyard.serving.tallies import Tallies
from modelyard.testing.fakes import FunctionModel, served_deployment, served_version
from unit.serving.data_plane import batcher, call, lane, rows, signature

TOOLS = PolicyTools(tallies=Tallies(Path("absent"), lambda *_: None), later=lambda *_: None, append=lambda *_: None)
USERS = [f"user-{number}".encode() for number in range(4000)]


def assigned(shares, by="x-user"):
    choice = StickyChoice(Sticky(by="header", header=by), shares)
    return {user: choice.choose(0, {b"x-user": user}) for user in USERS}


def test_shares_follow_the_weights_and_repeat():
    found = assigned([(1, 90), (2, 10)])
    assert found == assigned([(1, 90), (2, 10)])
    assert found == assigned([(2, 10), (1, 90)])
    assert Counter(found.values())[pin_of(2)] / len(USERS) == pytest.approx(0.1, abs=0.02)


def test_only_as_many_move_as_must_when_weights_change():
    before, after = assigned([(1, 90), (2, 10)]), assigned([(1, 70), (2, 30)])
    moved = [user for user in USERS if before[user] != after[user]]
    assert len(moved) / len(USERS) == pytest.approx(0.2, abs=0.03)
    assert {after[user] for user in moved} == {pin_of(2)}
    without = assigned([(1, 90)])
    assert all(without[user] == before[user] for user in USERS if before[user] == pin_of(1))


def test_keys_are_assigned_and_calls_without_the_header_are_not():
    by_key = StickyChoice(Sticky(), [(1, 50), (2, 50)])
    assert {by_key.choose(7, {}) for _ in range(5)} == {by_key.choose(7, {b"x-user": b"a"})}
    assert {by_key.choose(key, {}) for key in range(40)} == {pin_of(1), pin_of(2)}
    assert StickyChoice(Sticky(by="header", header="X-User"), [(1, 1)]).choose(7, {}) == ""
    assert StickyChoice(Sticky(), []).choose(7, {}) == ""


def routed(policy, weights, composer=None):
    model = FunctionModel(signature(), lambda inputs: {"y": inputs["x"]})
    executor = ThreadPoolExecutor(1)
    lanes = [
        lane(served_version(identity, signature(), number=3), batcher(model, executor), weight) for identity, weight in weights.items()
    ]
    deployment = msgspec.structs.replace(served_deployment("demo", weights), policy=policy)
    return (composer or PolicyComposer(TOOLS)).routes(deployment, lanes, DeploymentState.READY)


def test_only_deployments_that_ask_for_it_assign_callers():
    async def main():
        plane = DataPlane()
        plane.put(routed({}, {1: 50, 2: 50}))
        assert not plane.sticky
        plane.put(routed({"sticky": {"by": "key"}}, {1: 50, 2: 50}))
        pin = plane.assigned(1, "demo", 5, {})
        assert plane.choose(1, "demo", pin).pin == pin
        assert plane.assigned(2, "demo", 5, {}) == ""
        plane.put(routed({}, {1: 50, 2: 50}))
        assert not plane.sticky
        plane.put(routed({"sticky": {"by": "key"}}, {1: 50}))
        plane.remove(1, "demo")
        assert not plane.sticky

    asyncio.run(main())


def test_a_version_of_no_weight_answers_only_calls_that_name_it():
    async def main():
        routes = routed({"sticky": {"by": "key"}}, {1: 1, 2: 0})
        assert {routes.choose("").version.id for _ in range(50)} == {1}
        assert {routes.sticky.choose(key, {}) for key in range(50)} == {pin_of(1)}
        assert routes.choose(pin_of(2)).version.id == 2

    asyncio.run(main())


def test_two_models_of_one_number_are_told_apart_by_the_view_that_was_chosen():
    async def main():
        plane = DataPlane()
        plane.put(routed({}, {1: 50, 2: 50}, Composer()))
        views = [plane.choose(1, "demo") for _ in range(40)]
        assert {view.version_id for view in views} == {1, 2}
        for view in views:
            outcome = await call(plane, {"x": rows(1)}, version=view.pin)
            assert outcome.outputs["y"].tolist() == rows(1).tolist()
            assert plane.choose(1, "demo", view.pin) == view

        with pytest.raises(NotFound) as caught:
            plane.choose(1, "demo", "9")
        assert "=" not in caught.value.message

    asyncio.run(main())

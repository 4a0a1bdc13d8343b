"""Inference graphs: checked before they are deployed, and run over versions' own ways in."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import Internal, InvalidRequest, NotFound
from modelyard.core.graph import Before, Sequence, plan
from modelyard.core.policy import Policy, parse_policy
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.serving.batching import Batcher, BatchOptions, Identity
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.graph import _inputs, _vote
from modelyard.serving.policies import PolicyComposer, PolicyTools
from modelyard.serving.replica import Replica
from modelyard.serving.router import Lane
from modelyard.serving.statistics import CallStatistics
from modelyard.serving.tallies import Tallies, tallies_path
from modelyard.testing.fakes import FunctionModel, served_deployment, served_version
from unit.serving.data_plane import BATCHED, FAST, call


def spec(name, datatype=Datatype.FP32, *tail):
    return TensorSpec(name=name, datatype=datatype, shape=("n", *tail))


def model(inputs, outputs, compute):
    return FunctionModel(Signature(inputs=tuple(inputs), outputs=tuple(outputs)), compute)


X, Y, Z, LABEL = spec("x"), spec("y"), spec("z"), spec("label", Datatype.BYTES)
MODELS = {
    "double@1": model([X], [Y], lambda inputs: {"y": inputs["x"] * 2}),
    "add@1": model([X], [Y], lambda inputs: {"y": inputs["x"] + 10}),
    "both@1": model([X, Y], [Z], lambda inputs: {"z": inputs["x"] + inputs["y"]}),
    "negate@1": model([spec("v")], [Z], lambda inputs: {"z": -inputs["v"]}),
    "sort@1": model([X], [LABEL], lambda inputs: {"label": np.array([b"big" if v > 5 else b"small" for v in inputs["x"]], object)}),
    "wide@1": model([spec("x", Datatype.FP32, 3)], [Y], lambda inputs: {"y": inputs["x"][:, 0]}),
    "text@1": model([LABEL], [Y], lambda inputs: {"y": np.array([len(t) for t in inputs["label"]], np.float32)}),
    "broken@1": model([X], [Y], lambda inputs: 1 / 0),
}


def planned(graph):
    policy = parse_policy({"graph": graph})
    return plan(policy.graph, lambda name: MODELS[name].signature)


def names(signature):
    return [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]


def seq(*steps):
    return {"kind": "sequence", "steps": list(steps)}


def ensemble(*members, **more):
    return {"kind": "ensemble", "members": list(members), **more}


SWITCH = {"kind": "switch", "field": "label", "cases": {"big": "double@1"}, "default": "add@1"}


@pytest.mark.parametrize(
    ("graph", "inputs", "outputs"),
    [
        ("double@1", ["x"], ["y"]),
        (seq("double@1", "negate@1"), ["x"], ["z"]),  # by place
        (seq("double@1", "both@1"), ["x"], ["z"]),  # y by name, x of the call
        (ensemble("double@1", "add@1"), ["x"], ["y"]),
        (seq("sort@1", SWITCH), ["x"], ["y"]),
        (SWITCH | {"field": "kind"}, None, "it switches on 'kind', which nothing computes or takes"),
        (SWITCH | {"field": "x"}, None, "it switches on 'x', which is FP32"),
        (seq("sort@1", "negate@1"), ["x", "v"], ["z"]),  # a label is no number, so v is the call's
        (seq("double@1", "wide@1"), None, "the input 'x' is FP32 [-1] in one part and FP32 [-1, 3] in another"),
        (seq(seq("double@1", "negate@1"), "both@1"), ["x", "y"], ["z"]),  # y stays inside
        (ensemble("double@1", "negate@1"), None, "parts of one ensemble give y and z"),
        (ensemble("double@1", "wide@1"), None, "the input 'x' is FP32 [-1] in one part and FP32 [-1, 3] in another"),
        (ensemble("double@1", weights=[1, 2]), None, "a ensemble needs 1 weights above 0"),
        (ensemble(), None, "a ensemble has nothing in it"),
        ("double", None, "'double' names no version that stays"),
        ({"kind": "switch", "field": "x", "cases": {}}, None, "a switch has nothing in it"),
        ({"kind": "swich", "field": "x"}, None, "graph.kind: invalid value 'swich'"),
        (seq("double@1", {"kind": "split", "brances": []}), None, "graph.steps[1].brances is no field"),
        ({"kind": "switch", "field": "x", "cases": {"a": {"kind": "sequence", "step": []}}}, None, "graph.cases.a.step is no field"),
    ],
)
def test_a_graph_is_checked_as_a_whole(graph, inputs, outputs):
    if inputs is None:
        with pytest.raises(InvalidRequest) as caught:
            planned(graph)
        assert outputs in caught.value.message
    else:
        assert names(planned(graph)) == (inputs, outputs)


def test_a_graph_that_is_too_deep_or_beside_targets_is_refused():
    deep = "double@1"
    for _ in range(17):
        deep = seq(deep)
    with pytest.raises(InvalidRequest, match="more than 16 parts deep"):
        planned(deep)
    with pytest.raises(InvalidRequest, match="sticky: a graph has no targets"):
        parse_policy({"graph": "double@1", "sticky": {"by": "key"}})
    assert Policy.of({"graph": seq("a@1", ensemble("b@2", "a@1"))}).references == ("a@1", "b@2")


def serve(folder, graph, **policy):
    loop = asyncio.get_running_loop()
    tools = PolicyTools(tallies=Tallies(tallies_path(folder, 0), loop.call_later), later=loop.call_later, append=lambda *_: None)
    executor = ThreadPoolExecutor(1)
    policy = {"graph": graph, **policy}
    references = {name: place for place, name in enumerate(MODELS, 1) if name in Policy.of(policy).references}
    lanes = []
    for name, identity in references.items():
        version = msgspec.structs.replace(served_version(identity, MODELS[name].signature, model=name.split("@")[0]))
        made = Batcher(
            Replica(MODELS[name], FAST),
            Identity(name, 1, identity, version.signature),
            BATCHED,
            executor=executor,
            options=BatchOptions(),
            loop=loop,
        )
        lanes.append(Lane(version, 0, made, CallStatistics()))
    routes = dict.fromkeys(references.values(), 0)
    deployment = msgspec.structs.replace(served_deployment("demo", routes, revision=4), policy=policy, references=references)
    made = PolicyComposer(tools).routes(deployment, lanes, DeploymentState.READY)
    assert made.sources == tuple(lanes)
    plane = DataPlane()
    plane.put(made)
    return plane


def values(*numbers):
    return np.array(numbers, np.float32)


@pytest.mark.parametrize(
    ("graph", "given", "expected"),
    [
        (seq("double@1", "negate@1"), (1, 2), {"z": [-2, -4]}),
        (seq("double@1", "both@1"), (1, 2), {"z": [3, 6]}),
        (ensemble("double@1", "add@1"), (1, 20), {"y": [6.5, 35]}),
        (ensemble("double@1", "add@1", weights=[3, 1]), (2, 2), {"y": [6, 6]}),
        (ensemble("double@1", "add@1", "double@1", combine="vote"), (1, 2), {"y": [2, 4]}),
        (seq("sort@1", SWITCH), (1, 10, 2, 20), {"y": [11, 20, 12, 40]}),
        (seq("sort@1", "text@1"), (1, 10), {"y": [5, 3]}),
    ],
)
def test_graphs_compute_what_they_say(tmp_path, graph, given, expected):
    async def main():
        plane = serve(tmp_path, graph)
        view = plane.served(1, "demo")
        assert (view.model, view.number) == ("demo", 4)
        outcome = await call(plane, {"x": values(*given)})
        assert {name: array.tolist() for name, array in outcome.outputs.items()} == expected
        assert (outcome.rows, outcome.version, plane.served(1, "demo").statistics.succeeded) == (len(given), 4, 1)

    asyncio.run(main())


def test_calls_of_a_graph_share_runs_of_its_versions(tmp_path):
    async def main():
        plane = serve(tmp_path, seq("double@1", "negate@1"))
        MODELS["negate@1"].runs.clear()
        outcomes = await asyncio.gather(*[call(plane, {"x": values(number)}) for number in range(20)])
        assert [outcome.outputs["z"][0] for outcome in outcomes] == [-2 * number for number in range(20)]
        assert len(MODELS["negate@1"].runs) < 5

    asyncio.run(main())


def test_a_split_sends_calls_by_weight_and_a_cache_stands_in_front(tmp_path):
    async def main():
        plane = serve(tmp_path, {"kind": "split", "branches": ["double@1", "add@1"], "weights": [3, 1]})
        seen = Counter()
        for _ in range(400):
            seen[float((await call(plane, {"x": values(1)})).outputs["y"][0])] += 1
        assert 240 < seen[2.0] < 360
        assert seen.total() == 400
        kept = serve(tmp_path, "double@1", cache={"seconds": 60}, objective_ms=1000)
        assert [(await call(kept, {"x": values(1)})).cached for _ in range(2)] == [False, True]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("graph", "given", "kind", "said"),
    [
        (seq("double@1", "broken@1"), (1,), Internal, "The model failed"),
        (ensemble("double@1", "broken@1"), (1,), Internal, "The model failed"),
        (seq("sort@1", SWITCH | {"cases": {"huge": "double@1"}, "default": None}), (1,), InvalidRequest, "'label' is 'small' in row 0"),
    ],
)
def test_an_error_of_a_part_is_the_calls(tmp_path, graph, given, kind, said):
    async def main():
        plane = serve(tmp_path, graph)
        outcome = await call(plane, {"x": values(*given)})
        assert isinstance(outcome, kind)
        assert said in outcome.message
        assert plane.served(1, "demo").statistics.failed == 1

    asyncio.run(main())


def test_a_graph_with_a_version_that_is_not_loaded_is_not_served(tmp_path):
    async def main():
        tools = PolicyTools(tallies=Tallies(tallies_path(tmp_path, 0), lambda *_: None), later=lambda *_: None, append=lambda *_: None)
        deployment = msgspec.structs.replace(served_deployment("demo", {}), policy={"graph": "double@1"}, references={"double@1": 1})
        routes = PolicyComposer(tools).routes(deployment, [], DeploymentState.LOADING)
        assert routes.lanes == ()

    asyncio.run(main())


@given(st.lists(st.lists(st.sampled_from([1, 2, 3]), min_size=4, max_size=4), min_size=1, max_size=5))
def test_a_vote_is_won_by_most(columns):
    arrays = [np.array(column, np.int64) for column in columns]
    won = _vote(arrays, (1.0,) * len(arrays))
    for place in range(4):
        counts = Counter(column[place] for column in columns)
        assert counts[int(won[place])] == max(counts.values())


def stand(folder, policy, weights):
    """Targets with the steps that ``policy`` puts around them; every model is loaded."""
    loop = asyncio.get_running_loop()
    tools = PolicyTools(tallies=Tallies(tallies_path(folder, 0), loop.call_later), later=loop.call_later, append=lambda *_: None)
    executor, lanes, ids = ThreadPoolExecutor(1), [], {name: place for place, name in enumerate(STEPS, 1)}
    for name, identity in ids.items():
        version = msgspec.structs.replace(served_version(identity, STEPS[name].signature, number=identity, model=name.split("@")[0]))
        made = Batcher(
            Replica(STEPS[name], FAST),
            Identity(name, identity, identity, version.signature),
            BATCHED,
            executor=executor,
            options=BatchOptions(),
            loop=loop,
        )
        lanes.append(Lane(version, weights.get(name, 0), made, CallStatistics()))
    shares = {ids[name]: weights.get(name, 0) for name in ids}
    deployment = msgspec.structs.replace(served_deployment("demo", shares, revision=4), policy=policy, references=ids)
    used = [lane for name, lane in zip(ids, lanes, strict=True) if name in weights or name in Policy.of(policy).references]
    plane = DataPlane()
    made = PolicyComposer(tools).routes(deployment, used, DeploymentState.READY)
    plane.put(made)
    return plane, made


def _said(given):
    return {"said": given["y"].astype(str).astype(object)}


COLUMN = spec("x", Datatype.FP32, 1)
STEPS = {
    # What Python's own numbers are: of double width, and without a dimension for columns.
    "parse@1": model([spec("text", Datatype.BYTES)], [spec("x", Datatype.FP64)], lambda given: {"x": given["text"].astype(np.float64)}),
    "double@2": model([COLUMN], [spec("y", Datatype.FP32, 1)], lambda given: {"y": given["x"] * 2}),
    "negate@3": model([COLUMN], [spec("y", Datatype.FP32, 1)], lambda given: {"y": -given["x"]}),
    "say@4": model([spec("y", Datatype.FP64)], [spec("said", Datatype.BYTES)], _said),
    "count@5": model([spec("text", Datatype.BYTES)], [spec("x", Datatype.INT64)], lambda given: {"x": np.zeros(1, np.int64)}),
}


def test_calls_go_through_what_stands_before_and_after_the_target(tmp_path):
    async def main():
        plane, routes = stand(tmp_path, {"before": ["parse@1"], "after": ["say@4"]}, {"double@2": 100})
        view = plane.served(1, "demo")
        assert ([each.name for each in view.signature.inputs], [each.name for each in view.signature.outputs]) == (["text"], ["said"])
        assert (view.number, view.versions, len(routes.sources)) == (2, (2,), 3)
        outcome = await call(plane, {"text": np.array([b"1.5", b"2"], object)})
        assert outcome.outputs["said"].tolist() == ["3.0", "4.0"]
        assert (outcome.version_id, outcome.rows, view.statistics.succeeded) == (2, 2, 1)

    asyncio.run(main())


def test_weights_and_chosen_versions_are_those_of_the_targets(tmp_path):
    async def main():
        plane, _ = stand(tmp_path, {"before": ["parse@1"]}, {"double@2": 50, "negate@3": 50})
        given = {"text": np.array([b"1"], object)}
        found = Counter([float((await call(plane, given)).outputs["y"][0, 0]) for _ in range(60)])
        assert set(found) == {2.0, -1.0}
        assert float((await call(plane, given, version="3")).outputs["y"][0, 0]) == -1.0
        assert isinstance(await call(plane, given, version="1"), NotFound)  # a step answers nobody by itself

    asyncio.run(main())


def test_steps_that_are_not_there_or_do_not_fit_leave_the_deployment_unserved_and_say_why(tmp_path):
    async def main():
        for policy, said in (({"before": ["count@5"]}, "double@2 takes 'x' as FP32"), ({"after": ["gone@9"]}, "gone@9 is not there")):
            _, routes = stand(tmp_path, policy, {"double@2": 100})
            assert (routes.lanes, routes.state) == ((), DeploymentState.FAILED)
            assert said in routes.reason

    asyncio.run(main())


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"before": ["clean"]}, "names no version that stays"),
        ({"after": ["clean@latest"]}, r"after\[0\]"),
        ({"before": ["clean@1"], "after": ["clean@1"]}, "stands there twice"),
        ({"before": ["clean@1"], "graph": "a@1"}, "a graph has no targets to stand around"),
        ({"before": [f"clean@{number}" for number in range(1, 10)]}, "9 steps are more than 8"),
        ({"before": "clean@1"}, "before"),
    ],
)
def test_steps_are_checked_when_they_are_written(policy, said):
    with pytest.raises(InvalidRequest, match=said):
        parse_policy(policy)


@given(st.sampled_from(["FP16", "FP32", "FP64", "INT64", "BYTES"]), st.sampled_from(["FP16", "FP32", "FP64", "INT64", "BYTES"]),
       st.sampled_from([(), (1,), (3,), (1, 1)]), st.sampled_from([(), (1,), (3,), (1, 1)]))  # fmt: skip
def test_what_a_plan_accepts_a_call_fits(given_type, wanted_type, given_tail, wanted_tail):
    """A part gets what its signature says, or the graph is refused beforehand."""
    source, wanted = spec("x", Datatype(given_type), *given_tail), spec("x", Datatype(wanted_type), *wanted_tail)
    signatures = {"a@1": Signature(inputs=(X,), outputs=(source,)), "b@1": Signature(inputs=(wanted,), outputs=(Y,))}
    try:
        plan(Sequence(steps=("a@1", "b@1")), signatures.__getitem__)
    except InvalidRequest:
        return
    array = np.zeros((2, *given_tail), source.datatype.numpy)
    inputs = _inputs(signatures["b@1"], {}, Before({"x": array}, {"x": array}))
    assert signatures["b@1"].check_inputs(inputs) == 2

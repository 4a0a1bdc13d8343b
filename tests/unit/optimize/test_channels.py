"""Structured pruning: what is left answers as the whole graph with those channels silenced."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from modelyard.optimize.base import Work
from modelyard.optimize.channels import groups, importance, remove
from modelyard.optimize.table import read_pass

RANDOM = np.random.default_rng(0)


def tensor(name: str, *shape: int):
    return numpy_helper.from_array((RANDOM.standard_normal(shape) + 0.1).astype(np.float32), name)


def model(nodes, constants, shape, outputs=("y",), opset=19) -> ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    faces = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", None]) for name in outputs]
    graph = helper.make_graph(nodes, "net", inputs, faces, initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def dense(width: int = 6) -> ModelProto:
    """MatMul, Add, Relu, Gemm with a transposed weight, Tanh, MatMul."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w1"], ["a"]),
        node("Add", ["b1", "a"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("Gemm", ["c", "w2", "b2"], ["d"], transB=1),
        node("Tanh", ["d"], ["e"]),
        node("MatMul", ["e", "w3"], ["y"]),
    ]
    constants = [tensor("w1", 4, width), tensor("b1", width), tensor("w2", 5, width), tensor("b2", 5), tensor("w3", 5, 3)]
    return model(nodes, constants, ["rows", 4])


def convolutional(flatten: str = "Flatten") -> ModelProto:
    """Conv, BatchNormalization, Relu, depthwise Conv, Conv with bias, MaxPool, Flatten, Gemm."""
    node = helper.make_node
    bends = {
        "Flatten": node("Flatten", ["f"], ["g"], axis=1),
        "free": node("Reshape", ["f", "free"], ["g"]),
        "fixed": node("Reshape", ["f", "fixed"], ["g"]),
    }
    nodes = [
        node("Conv", ["x", "k1"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "s", "o", "m", "v"], ["n"]),
        node("Relu", ["n"], ["c"]),
        node("Conv", ["c", "kd", "bd"], ["d"], group=6, pads=[1, 1, 1, 1]),
        node("Conv", ["d", "k2", "b2"], ["e"]),
        node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        bends[flatten],
        node("Gemm", ["g", "w", "b"], ["y"]),
    ]
    constants = [
        tensor("k1", 6, 2, 3, 3),
        *(tensor(name, 6) for name in ("s", "o", "m")),
        numpy_helper.from_array(np.abs(RANDOM.standard_normal(6)).astype(np.float32) + 0.5, "v"),
        tensor("kd", 6, 1, 3, 3),
        tensor("bd", 6),
        tensor("k2", 4, 6, 3, 3),
        tensor("b2", 4),
        tensor("w", 4 * 3 * 3, 3),
        tensor("b", 3),
        numpy_helper.from_array(np.array([0, -1], np.int64), "free"),
        numpy_helper.from_array(np.array([-1, 36], np.int64), "fixed"),
    ]
    return model(nodes, constants, ["rows", 2, 8, 8])


def answer(made: ModelProto, x) -> np.ndarray:
    return ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def silenced(whole: ModelProto, gone: dict[str, list[int]]) -> ModelProto:
    """The graph with the readers of those channels set to zero: what removing them must answer."""
    copy = ModelProto()
    copy.CopyFrom(whole)
    constants = {initializer.name: initializer for initializer in copy.graph.initializer}
    for group in groups(whole.graph):
        for name, axis in group.takes:
            values = numpy_helper.to_array(constants[name]).copy()
            each = values.shape[axis] // group.count
            places = [channel * each + at for channel in gone[group.producer] for at in range(each)]
            np.moveaxis(values, axis, 0)[places] = 0
            constants[name].CopyFrom(numpy_helper.from_array(values, name))
    return copy


def check(whole: ModelProto, x, keep) -> ModelProto:
    gone: dict[str, list[int]] = {}

    def kept(group, sizes):
        stay = np.array(sorted(keep(group, sizes)), np.intp)
        gone[group.producer] = sorted(set(range(group.count)) - set(stay.tolist()))
        return stay

    before = whole.SerializeToString(deterministic=True)
    made = remove(whole, kept)
    assert whole.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(made, full_check=True)
    assert np.allclose(answer(made, x), answer(silenced(whole, gone), x), rtol=1e-4, atol=1e-4)
    return made


@given(data=st.data(), width=st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_a_network_without_channels_answers_as_with_them_silenced(data, width) -> None:
    whole = dense(width)
    assert [(group.producer, group.count) for group in groups(whole.graph)] == [("w1", width), ("w2", 5)]
    some = {
        group.producer: data.draw(st.sets(st.integers(0, group.count - 1), min_size=1), label=group.producer)
        for group in groups(whole.graph)
    }
    check(whole, RANDOM.standard_normal((7, 4)).astype(np.float32), lambda group, _: some[group.producer])


@pytest.mark.parametrize("flatten", ["Flatten", "free", "fixed"])
def test_convolutions_lose_filters_with_all_that_hangs_on_them(flatten) -> None:
    whole = convolutional(flatten)
    assert [(group.producer, group.count) for group in groups(whole.graph)] == [("k1", 6), ("k2", 4)]
    made = check(whole, RANDOM.standard_normal((3, 2, 8, 8)).astype(np.float32), lambda group, _: range(0, group.count, 2))
    shapes = {initializer.name: list(initializer.dims) for initializer in made.graph.initializer}
    assert shapes["k1"] == [3, 2, 3, 3]
    assert shapes["kd"] == [3, 1, 3, 3]
    assert shapes["k2"] == [2, 3, 3, 3]
    assert shapes["w"] == [18, 3]
    assert [attribute.i for node in made.graph.node for attribute in node.attribute if attribute.name == "group"] == [3]


def test_importance_does_not_change_when_a_channel_is_scaled_and_its_readers_scaled_back() -> None:
    whole = dense()
    [first, _] = groups(whole.graph)
    arrays = {initializer.name: numpy_helper.to_array(initializer).copy() for initializer in whole.graph.initializer}
    before = importance(first, arrays)
    arrays["w1"][:, 2] *= 8
    arrays["w2"][:, 2] /= 8
    assert np.allclose(importance(first, arrays), before)
    assert np.allclose(before, np.linalg.norm(arrays["w1"], axis=0) * np.linalg.norm(arrays["w2"], axis=0))


def test_the_pass_keeps_the_most_important_and_at_least_one() -> None:
    whole = dense(8)
    constants = {initializer.name: initializer for initializer in whole.graph.initializer}
    weights = numpy_helper.to_array(constants["w1"]).copy()
    weights[:, [1, 4, 6]] *= 1e-3
    constants["w1"].CopyFrom(numpy_helper.from_array(weights, "w1"))
    chosen = read_pass("channels:0.4")
    assert chosen.supports(Work(whole)) == ""
    made = {initializer.name: numpy_helper.to_array(initializer) for initializer in chosen.run(Work(whole)).graph.initializer}
    assert np.array_equal(made["w1"], weights[:, [0, 2, 3, 5, 7]])
    assert made["w3"].shape == (3, 3)
    least = read_pass("channels:0.99").run(Work(whole))
    assert {tuple(initializer.dims) for initializer in least.graph.initializer} == {(4, 1), (1,), (1, 1), (1, 3)}


def test_channels_that_somebody_else_needs_stay() -> None:
    node = helper.make_node
    residual = model(
        [
            node("MatMul", ["x", "w1"], ["a"]),
            node("Relu", ["a"], ["b"]),
            node("Add", ["b", "x"], ["c"]),
            node("MatMul", ["c", "w2"], ["y"]),
        ],
        [tensor("w1", 4, 4), tensor("w2", 4, 2)],
        ["rows", 4],
    )
    shown = model(
        [node("MatMul", ["x", "w1"], ["h"]), node("MatMul", ["h", "w2"], ["y"])],
        [tensor("w1", 4, 4), tensor("w2", 4, 2)],
        ["rows", 4],
        outputs=("y", "h"),
    )
    shared = model(
        [node("MatMul", ["x", "w"], ["a"]), node("Relu", ["a"], ["b"]), node("MatMul", ["b", "w"], ["y"])],
        [tensor("w", 4, 4)],
        ["rows", 4],
    )
    normalized = model(
        [node("MatMul", ["x", "w1"], ["a"]), node("Softmax", ["a"], ["b"]), node("MatMul", ["b", "w2"], ["y"])],
        [tensor("w1", 4, 4), tensor("w2", 4, 2)],
        ["rows", 4],
    )
    for whole in (residual, shown, shared, normalized):
        assert groups(whole.graph) == []
        assert "no layer has channels" in read_pass("channels:0.5").supports(Work(whole))


def test_weights_of_four_bits_are_an_eighth_and_near_in_their_answers() -> None:
    node = helper.make_node
    whole = model(
        [node("MatMul", ["x", "w1"], ["a"]), node("Relu", ["a"], ["b"]), node("MatMul", ["b", "w2"], ["y"])],
        [tensor("w1", 64, 1024), tensor("w2", 1024, 64)],
        ["rows", 64],
    )
    chosen = read_pass("int4")
    assert chosen.supports(Work(whole)) == ""
    before = whole.SerializeToString(deterministic=True)
    made = chosen.run(Work(whole))
    assert whole.SerializeToString(deterministic=True) == before
    assert made.ByteSize() < 0.2 * whole.ByteSize()
    x = RANDOM.standard_normal((16, 64)).astype(np.float32)
    apart = np.abs(answer(made, x) - answer(whole, x))
    assert apart.mean() < 0.05 * np.abs(answer(whole, x)).mean() + 0.1 * np.abs(answer(whole, x)).std()
    assert "MatMul" in read_pass("int4").supports(Work(convolutional()))

"""Small ONNX graphs that tell versions apart by what they answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save


def write_adder(path: Path, amount: float) -> Path:
    """y = x + amount over rows of two numbers."""
    constant = numpy_helper.from_array(np.array([amount], np.float32), "amount")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "amount"], ["y"])],
        "adder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [constant],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def write_endless(path: Path) -> Path:
    """A Loop whose condition is always true."""
    i64 = TensorProto.INT64
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["keep"], ["keep_out"]),
            helper.make_node("Add", ["carried", "one"], ["carried_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", i64, []),
            helper.make_tensor_value_info("keep", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", i64, []),
        ],
        [helper.make_tensor_value_info("keep_out", TensorProto.BOOL, []), helper.make_tensor_value_info("carried_out", i64, [])],
        [helper.make_tensor("one", i64, [], [1])],
    )
    nodes = [
        helper.make_node("Constant", [], ["trips"], value=helper.make_tensor("t", i64, [], [2**62])),
        helper.make_node("Constant", [], ["true"], value=helper.make_tensor("b", TensorProto.BOOL, [], [True])),
        helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=body),
    ]
    graph = helper.make_graph(
        nodes, "endless", [helper.make_tensor_value_info("x", i64, [])], [helper.make_tensor_value_info("y", i64, [])]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def write_greedy(path: Path) -> Path:
    """Asks for four tebibytes."""
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [2**20, 2**20])
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "greedy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path

"""Small ONNX files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def save(path, nodes, inputs, outputs, *, weights=(), opset=20, domains=(), metadata=None):
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(weights))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, KINDS[kind], list(shape))


def identity(path: Path, kind: str, *, width: int = 2) -> Path:
    """y = x of one datatype, rows of ``width``."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return save(path, [node], [value("x", kind, "n", width)], [value("y", kind, "n", width)])


def adder(path: Path, amount: float, *, width: int = 2, **more) -> Path:
    """y = x + amount."""
    weight = numpy_helper.from_array(np.array([amount], np.float32), "amount")
    node = helper.make_node("Add", ["x", "amount"], ["y"])
    return save(path, [node], [value("x", "FP32", "n", width)], [value("y", "FP32", "n", width)], weights=[weight], **more)


def two_heads(path: Path) -> Path:
    """total = a + b and difference = a - b, from two inputs."""
    nodes = [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
    shape = ("n", 3)
    outputs = [value("total", "FP32", *shape), value("difference", "FP32", *shape)]
    return save(path, nodes, [value("a", "FP32", *shape), value("b", "FP32", *shape)], outputs)


def lookup(path: Path) -> Path:
    """y = table[i]: indices over 3 fail."""
    table = numpy_helper.from_array(np.array([10, 20, 30, 40], np.float32), "table")
    node = helper.make_node("Gather", ["table", "i"], ["y"], name="look")
    return save(path, [node], [value("i", "INT64", "n")], [value("y", "FP32", "n")], weights=[table])


def external(path: Path, location: str, data: bytes | None = None) -> Path:
    """A model whose one weight (two floats) says that it lies at ``location``."""
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", "0"), ("length", "8")):
        weight.external_data.add(key=key, value=text)
    node = helper.make_node("Add", ["x", "weight"], ["y"])
    graph = helper.make_graph([node], "graph", [value("x", "FP32", "n", 2)], [value("y", "FP32", "n", 2)], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    if data is not None:
        (path.parent / location).write_bytes(data)
    return path

"""Small ONNX models, well-behaved and hostile."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def save(path, nodes, inputs, outputs, initializers=(), **metadata):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def linear(path, *, scale=2.0):
    """y = x * scale, by rows."""
    return save(
        path,
        [helper.make_node("Mul", ["x", "s"], ["y"])],
        [value("x", FLOAT, ["N", 3])],
        [value("y", FLOAT, ["N", 3])],
        [constant("s", np.float32(scale))],
        **{"modelyard.classes": '["a", "b", "c"]'},
    )


def mixing(path):
    """Every row minus the mean of all rows: rows are not independent."""
    return save(
        path,
        [helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), helper.make_node("Sub", ["x", "m"], ["y"])],
        [value("x", FLOAT, ["N", 3])],
        [value("y", FLOAT, ["N", 3])],
    )


def fixed(path):
    """One row only."""
    return save(path, [helper.make_node("Neg", ["x"], ["y"])], [value("x", FLOAT, [1, 3])], [value("y", FLOAT, [1, 3])])


def embedding(path):
    """Rows of a table of two: any index but 0, 1, -1 and -2 fails."""
    return save(
        path,
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [value("ids", INT64, ["N", "T"])],
        [value("y", FLOAT, ["N", "T", 4])],
        [constant("table", np.ones((2, 4), np.float32))],
    )


def endless(path):
    """A loop of 2^62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Add", ["a", "a"], ["a2"])],
        "body",
        [value("i", INT64, []), value("c", TensorProto.BOOL, []), value("a", FLOAT, ["N", 1])],
        [value("c2", TensorProto.BOOL, []), value("a2", FLOAT, ["N", 1])],
    )
    return save(
        path,
        [helper.make_node("Loop", ["n", "go", "x"], ["y"], body=body)],
        [value("x", FLOAT, ["N", 1])],
        [value("y", FLOAT, ["N", 1])],
        [constant("n", np.int64(2**62)), constant("go", np.bool_(True))],
    )


def greedy(path, size=2**40):
    """Asks for terabytes."""
    return save(
        path,
        [
            helper.make_node("ConstantOfShape", ["shape"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
        ],
        [value("x", FLOAT, ["N", 1])],
        [value("y", FLOAT, ["N", 1])],
        [constant("shape", np.array([size], np.int64))],
    )


def outside(path):
    """Keeps its weights in /etc/passwd."""
    save(path, [helper.make_node("Mul", ["x", "w"], ["y"])], [value("x", FLOAT, ["N", 1])], [value("y", FLOAT, ["N", 1])])
    model = onnx.load(path)
    weight = TensorProto(name="w", data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../../../../../../etc/passwd")
    model.graph.initializer.append(weight)
    path.write_bytes(model.SerializeToString())
    return path

"""Layers that quantization damages are found on calibration rows and left as they are."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelyard.optimize.base import Calibration, Work
from modelyard.optimize.quantizing import VARIANTS
from modelyard.optimize.sensitive import answers_of
from modelyard.optimize.table import read_pass
from unit.optimize.test_passes import CALIBRATION, network

ROWS = np.random.default_rng(3).standard_normal((256, 16)).astype(np.float32)


def fragile(*, named=True):
    """x → Gemm, Relu → Gemm → Gemm → y; between the last two flows a number far larger than those that count."""
    random = np.random.default_rng(0)
    weights = [random.standard_normal((16, 32)) / 4, random.standard_normal((32, 16)) / 4, random.standard_normal((16, 3)) / 4]
    weights[1][:, 0] *= 2000
    weights[2][0] = 0
    constants = [numpy_helper.from_array(values.astype(np.float32), f"w{at}") for at, values in enumerate(weights)]
    names = ["first", "second", "last"] if named else ["", "", ""]
    nodes = [
        helper.make_node("Gemm", ["x", "w0"], ["a"], name=names[0]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "w1"], ["c"], name=names[1]),
        helper.make_node("Gemm", ["c", "w2"], ["y"], name=names[2]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])]
    graph = helper.make_graph(nodes, "fragile", inputs, outputs, initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def quantized_weights(model):
    return sum(tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 2 for tensor in model.graph.initializer)


def test_the_layer_that_loses_is_left_out_and_the_report_says_what_it_cost():
    work = Work(fragile(), Calibration({"x": ROWS}), tolerance=0.01)
    made = read_pass("int8").run(work)
    onnx.checker.check_model(made)
    notes = work.notes["int8"]
    assert {entry["node"] for entry in notes["left_out"]} == {"second", "last"}
    assert notes["loss_of_all"] > 0.01 >= max(notes["loss_on_training_rows"], notes["left_out"][-1]["loss_without_it"])
    assert notes["damage"]["first"] < 0.2 * min(notes["damage"]["last"], notes["damage"]["second"])
    assert notes["quantized"] == quantized_weights(made) == 1
    before, after = (answers_of(model, work.calibration)["y"] for model in (fragile(), made))
    assert np.abs(before - after).mean() < 0.1 * np.abs(before).mean()


def test_nodes_without_names_are_told_apart():
    work = Work(fragile(named=False), Calibration({"x": ROWS}), tolerance=0.01)
    read_pass("int8").run(work)
    assert {entry["node"] for entry in work.notes["int8"]["left_out"]} == {"Gemm_2", "Gemm_3"}


def test_a_loss_of_quality_decides_where_right_answers_are_known():
    asked = []

    def loss(before, after):
        asked.append(float(np.abs(before["y"] - after["y"]).mean()))
        return 0.0

    work = Work(fragile(), Calibration({"x": ROWS}, loss), tolerance=0.01)
    assert quantized_weights(read_pass("int8").run(work)) == 3
    assert len(asked) == len(VARIANTS)
    assert work.notes["int8"]["left_out"] == []


def test_what_cannot_be_saved_ends_with_the_smallest_loss():
    work = Work(fragile(), Calibration({"x": ROWS}), tolerance=0.0)
    made = read_pass("int8").run(work)
    notes = work.notes["int8"]
    assert notes["loss_on_training_rows"] < notes["loss_of_all"]
    assert quantized_weights(made) == notes["quantized"] >= 1


def test_a_robust_network_is_quantized_whole():
    work = Work(network(), CALIBRATION, tolerance=0.05)
    assert quantized_weights(read_pass("int8:static").run(work)) == 2
    assert work.notes["int8"]["left_out"] == []

"""Of the variants of a quantization the fastest is taken, as long as it loses little enough."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.optimize.base import Calibration, Work
from modelyard.optimize.fastest import processor_seconds
from modelyard.optimize.passes import int8
from modelyard.optimize.quantizing import VARIANTS, Quantizer
from modelyard.optimize.sensitive import answers_of
from modelyard.optimize.table import read_pass
from unit.optimize.test_passes import ROWS, network


def test_what_computes_more_takes_longer():
    seconds = processor_seconds({"large": network(hidden=4096), "small": network(hidden=64)}, {"x": ROWS})
    assert 0 < seconds["small"] < seconds["large"] < 1


def test_the_fastest_variant_within_the_tolerance_is_chosen(monkeypatch):
    wanted = VARIANTS[2].title
    monkeypatch.setattr(int8, "processor_seconds", lambda models, inputs: {title: 1.0 - 0.5 * (title == wanted) for title in models})
    work = Work(network(), Calibration({"x": ROWS}), tolerance=0.05)
    made = read_pass("int8").run(work)
    notes = work.notes["int8"]
    assert notes["variant"] == wanted == notes["variants"][0]["variant"]
    assert {node.op_type for node in made.graph.node} & {"QLinearMatMul", "QGemm"}
    assert {entry["variant"] for entry in notes["variants"]} | set(notes["refused_variants"]) == {variant.title for variant in VARIANTS}


def test_of_equally_fast_ones_the_most_exact_is_chosen(monkeypatch):
    monkeypatch.setattr(int8, "processor_seconds", lambda models, inputs: dict.fromkeys(models, 1.0))
    work = Work(network(), Calibration({"x": ROWS}), tolerance=0.05)
    read_pass("int8").run(work)
    notes = work.notes["int8"]
    assert notes["loss_on_training_rows"] == min(entry["loss_on_training_rows"] for entry in notes["variants"])


def test_a_variant_that_loses_too_much_is_not_measured_and_said_to():
    # One scale for all outputs leaves nothing of a small one beside a large one.
    random = np.random.default_rng(0)
    weights = (random.standard_normal((8, 2)) * [1000, 0.01]).astype(np.float32)
    names = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Mul", ["m", "s"], ["y"])]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([0.001, 100], np.float32), "s")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])]
    graph = helper.make_graph(names, "uneven", inputs, outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)

    def loss(before, after):
        return float(np.mean((before["y"][:, 0] - after["y"][:, 0]) ** 2) + 10 * np.allclose(after["y"][:, 1], 0, atol=1e-2))

    work = Work(model, Calibration({"x": ROWS}, loss), tolerance=0.05)
    read_pass("int8").run(work)

    assert any("loses" in reason for reason in work.notes["int8"]["refused_variants"].values())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.title)
def test_every_variant_answers_nearly_the_same(variant):
    calibration = Calibration({"x": ROWS})
    quantizer = Quantizer(network(), calibration, "static")
    made = quantizer.quantize(variant, [node.name for node in quantizer.nodes(variant)])
    before, after = (answers_of(model, calibration)["y"] for model in (network(), made))
    assert np.abs(before - after).mean() < 0.1 * np.abs(before).mean()

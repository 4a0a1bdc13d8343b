"""A graph's own constants are learned anew; what they are is checked against ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.optimize.base import Lessons, Work
from modelyard.optimize.table import read_pass
from modelyard.optimize.weights import weight_tensors
from unit.optimize.test_passes import ROWS, network, weights_of

torch = pytest.importorskip("torch")

from modelyard.optimize.finetune.module import module_of, with_learned  # noqa: E402 - needs torch
from modelyard.optimize.finetune.region import region_of, why_not  # noqa: E402

LESSONS = Lessons({"x": ROWS})


def pictures():
    """A network of convolutions with most of the operators that trained ones have, and labels beside the probabilities."""
    random = np.random.default_rng(0)

    def tensor(name, *shape, scale=0.3, shift=0.0):
        return numpy_helper.from_array((random.standard_normal(shape) * scale + shift).astype(np.float32), name)

    constants = [
        tensor("mean", 1, 3, 1, 1),
        tensor("w1", 8, 3, 3, 3),
        tensor("b1", 8),
        *[tensor(f"n{name}", 8, shift=1.0, scale=0.1) for name in ("scale", "bias", "mean", "var")],
        tensor("w2", 8, 1, 3, 3),
        tensor("w3", 8, 8, 1, 1),
        numpy_helper.from_array(np.array([0, -1], np.int64), "flat"),
        tensor("w4", 32, 8),
        tensor("b4", 8),
        tensor("w5", 4, 8),
        tensor("b5", 4),
        numpy_helper.from_array(np.array(["a", "b", "c", "d"], object), "names"),
    ]
    make = helper.make_node
    nodes = [
        make("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        make("Sub", ["f", "mean"], ["shifted"]),
        make("Conv", ["shifted", "w1", "b1"], ["c1"], pads=[1, 0, 1, 2], strides=[1, 1]),
        make("BatchNormalization", ["c1", "nscale", "nbias", "nmean", "nvar"], ["n1"]),
        make("Relu", ["n1"], ["r1"]),
        make("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 1]),
        make("Conv", ["p1", "w2"], ["c2"], group=8, pads=[1, 1, 1, 1]),
        make("HardSwish", ["c2"], ["s2"]),
        make("Add", ["s2", "p1"], ["a2"]),
        make("Conv", ["a2", "w3"], ["c3"]),
        make("LeakyRelu", ["c3"], ["l3"], alpha=0.1),
        make("AveragePool", ["l3"], ["p3"], kernel_shape=[2, 2], strides=[1, 1], pads=[1, 1, 0, 0], count_include_pad=0),
        make("Reshape", ["p3", "flat"], ["flattened"]),
        make("MatMul", ["flattened", "w4"], ["m4"]),
        make("Add", ["b4", "m4"], ["a4"]),
        make("Tanh", ["a4"], ["t4"]),
        make("Gemm", ["t4", "w5", "b5"], ["scores"], transB=1),
        make("Softmax", ["scores"], ["shares"], axis=1),
        make("Identity", ["shares"], ["probabilities"]),
        make("ArgMax", ["shares"], ["place"], axis=1, keepdims=0),
        make("Gather", ["names", "place"], ["label"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["rows", 3, 4, 4])]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 4]),
    ]
    graph = helper.make_graph(nodes, "pictures", inputs, outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    onnx.checker.check_model(model)
    return model


IMAGES = np.random.default_rng(7).integers(0, 6, (512, 3, 4, 4)).astype(np.uint8)


def answers(model, inputs, name):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run([name], inputs)[0]


def test_the_module_answers_as_the_runtime_and_comes_back_unchanged():
    model = pictures()
    assert why_not(model) == ""
    region = region_of(model)
    assert region.given == ["shifted"]
    assert region.answers == ["probabilities"]
    assert set(region.learned) == {"w1", "b1", "nscale", "nbias", "w2", "w3", "w4", "b4", "w5", "b5"}
    mean = numpy_helper.to_array(model.graph.initializer[0])
    module = module_of(model, region)
    with torch.no_grad():
        found = module(torch.from_numpy(IMAGES.astype(np.float32) - mean)).exp().numpy()
    np.testing.assert_allclose(found, answers(model, {"image": IMAGES}, "probabilities"), atol=2e-5)
    assert with_learned(model, module, region.learned).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_a_pruned_network_of_convolutions_learns_its_answers_again_and_keeps_its_zeros():
    parent = pictures()
    pruned = read_pass("prune:0.6").run(Work(parent))
    labels = answers(parent, {"image": IMAGES}, "probabilities").argmax(axis=1)
    work = Work(pruned, lessons=Lessons({"image": IMAGES}, labels), origin=parent)
    tuning = read_pass("finetune:15")
    assert tuning.supports(work) == ""
    made = tuning.run(work)
    onnx.checker.check_model(made)
    (note,) = work.notes["finetuning"]
    assert note["loss_after"] < 0.5 * note["loss_before"]
    assert note["kept"]
    wrong = [np.mean(answers(model, {"image": IMAGES}, "probabilities").argmax(axis=1) != labels) for model in (pruned, made)]
    assert wrong[1] < 0.6 * wrong[0]
    for before, after in zip(weight_tensors(pruned.graph), weight_tensors(made.graph), strict=True):
        old, new = numpy_helper.to_array(before), numpy_helper.to_array(after)
        assert np.array_equal(old == 0, new == 0)
        assert not np.array_equal(old, new)


def test_numbers_are_learned_from_the_parents_answers_in_steps():
    parent = network()
    work = Work(parent, lessons=LESSONS, origin=parent)
    made = read_pass("prune:0.5,steps=3,finetune=20").run(work)
    assert [note["step"] for note in work.notes["finetuning"]] == [1, 2, 3]
    assert np.count_nonzero(weights_of(made)) == weights_of(parent).size - int(0.5 * weights_of(parent).size)
    plain = read_pass("prune:0.5").run(Work(parent))
    truth = answers(parent, {"x": ROWS}, "y")
    far, near = (np.abs(answers(model, {"x": ROWS}, "y") - truth).mean() for model in (plain, made))
    assert near < 0.6 * far


def test_channels_that_left_are_made_up_for():
    parent = read_pass("graph").run(Work(network(hidden=32)))
    truth = answers(parent, {"x": ROWS}, "y")
    work = Work(parent, lessons=LESSONS, origin=parent)
    far, near = (
        np.abs(answers(read_pass(text).run(work), {"x": ROWS}, "y") - truth).mean() for text in ("channels:0.5", "channels:0.5,finetune=30")
    )
    assert near < 0.7 * far


def test_where_nothing_gets_better_the_model_stays_as_it_was():
    parent = network()
    work = Work(parent, lessons=LESSONS, origin=parent)
    made = read_pass("finetune:1").run(work)
    assert not work.notes["finetuning"][0]["kept"]
    assert made.SerializeToString(deterministic=True) == parent.SerializeToString(deterministic=True)


def test_what_cannot_be_learned_anew_is_named():
    tuning = read_pass("finetune")
    assert "training rows" in tuning.supports(Work(network()))
    assert "at least 32" in tuning.supports(Work(network(), lessons=Lessons({"x": ROWS[:5]})))
    strange = network()
    strange.graph.node[3].op_type = "Round"
    strange.graph.node[3].name = "rounding"
    assert "operator Round (the node 'rounding')" in tuning.supports(Work(strange, lessons=LESSONS))
    padded = pictures()
    padded.graph.node[2].attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    assert "SAME_UPPER" in tuning.supports(Work(padded, lessons=LESSONS))
    quantized = read_pass("int8:dynamic").run(Work(network()))
    assert "before int8" in tuning.supports(Work(quantized, lessons=LESSONS))

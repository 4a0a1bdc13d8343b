import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.optimize.base import Calibration, Work
from modelyard.optimize.passes.clip import clip
from modelyard.optimize.quantizing import VARIANTS, Quantizer
from modelyard.optimize.sparsity import Sparsity, zeroed
from modelyard.optimize.table import PASSES, read_pass
from modelyard.optimize.weights import weight_tensors


def network(hidden=64, opset=19):
    """x [rows, 8] → MatMul, Add, Relu, Gemm → y [rows, 3], with a constant that folding removes."""
    random = np.random.default_rng(0)

    def tensor(name, *shape):
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Add", ["b1", "b1"], ["b2"]),
        helper.make_node("MatMul", ["x", "w1"], ["m"]),
        helper.make_node("Add", ["m", "b2"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "w2", "c"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])]
    constants = [tensor("w1", 8, hidden), tensor("b1", hidden), tensor("w2", hidden, 3), tensor("c", 3)]
    graph = helper.make_graph(nodes, "net", inputs, outputs, initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def forest():
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])]
    return helper.make_model(helper.make_graph([node], "trees", inputs, outputs))


ROWS = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
CALIBRATION = Calibration({"x": ROWS})
OUTLIERS = Calibration({"x": np.vstack([np.random.default_rng(2).standard_normal((4_000, 8)), np.full((1, 8), 25.0)]).astype(np.float32)})


def answer(model):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": ROWS})[0]


def applied(text, model, calibration=CALIBRATION):
    found = read_pass(text)
    before = model.SerializeToString(deterministic=True)
    assert found.supports(Work(model, calibration)) == ""
    made = found.run(Work(model, calibration))
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(made)
    return made


def weights_of(model):
    return np.concatenate([numpy_helper.to_array(tensor).ravel() for tensor in weight_tensors(model.graph)])


@given(
    st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12), min_size=1, max_size=4),
    st.floats(0.01, 0.99),
)
def test_pruning_zeroes_exactly_the_smallest_share(parts, sparsity):
    weights = [np.array(part, np.float32).reshape(1, -1) for part in parts]
    flat = np.concatenate([part.ravel() for part in weights])
    pruned = np.concatenate([part.ravel() for part in zeroed(weights, Sparsity(share=sparsity).kept(weights, [1] * len(weights)))])
    gone = (pruned == 0) & (flat != 0)
    assert np.array_equal(pruned[~gone], flat[~gone])
    count = int(sparsity * len(flat))
    assert np.count_nonzero(pruned) == min(np.count_nonzero(flat), len(flat) - count)
    if gone.any() and np.any(pruned):
        assert np.abs(flat[gone]).max() <= np.abs(pruned[pruned != 0]).min()


def test_pruning_is_global_and_leaves_biases_alone():
    model = network()
    made = applied("prune:0.75", model)
    total = weights_of(model).size
    assert np.count_nonzero(weights_of(made)) == total - int(0.75 * total)
    biases = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    assert np.all(biases["b1"] != 0)
    assert np.all(biases["c"] != 0)


def test_clipping_holds_each_tensor_between_its_own_percentiles():
    values = np.arange(-100, 101, dtype=np.float32).reshape(3, 67)
    bound = np.percentile(np.abs(values), 90)
    assert np.array_equal(clip(values, 90), np.clip(values, -bound, bound))
    model = network()
    for before, after in zip(weight_tensors(model.graph), weight_tensors(applied("clip:90", model).graph), strict=True):
        old, new = numpy_helper.to_array(before), numpy_helper.to_array(after)
        limit = np.float32(np.percentile(np.abs(old).astype(np.float64), 90))
        assert np.abs(new).max() == limit
        inside = np.abs(old) <= limit
        assert np.array_equal(new[inside], old[inside])


def test_graph_optimization_folds_constants_and_changes_no_answer():
    model = network()
    made = applied("graph", model)
    assert len(made.graph.node) < len(model.graph.node)
    assert np.allclose(answer(made), answer(model), rtol=1e-5, atol=1e-5)


def test_half_precision_halves_the_weights_and_keeps_the_faces():
    model = network(hidden=512)
    made = applied("fp16", model)
    assert {tensor.data_type for tensor in weight_tensors(made.graph)} == {TensorProto.FLOAT16}
    assert made.ByteSize() < 0.6 * model.ByteSize()
    assert answer(made).dtype == np.float32
    assert np.abs(answer(made) - answer(model)).max() < 0.01 * np.abs(answer(model)).max()


@pytest.mark.parametrize("target", ["runtime", "machine"])
def test_graphs_fused_for_this_runtime_and_machine_load_and_answer_the_same(target):
    model = network()
    made = read_pass(f"graph:{target}").run(Work(model))
    assert {node.domain for node in made.graph.node} & {"com.microsoft"}
    assert np.allclose(answer(made), answer(model), rtol=1e-5, atol=1e-5)
    with pytest.raises(InvalidRequest, match="Did you mean 'machine'"):
        read_pass("graph:machin")


def test_clipping_to_a_range_holds_all_layers_between_the_same_bounds():
    model = network()
    old, new = weights_of(model), weights_of(applied("clip:range=0.5", model))
    assert np.array_equal(new, np.clip(old, -0.5, 0.5))
    with pytest.raises(InvalidRequest, match=r"clip:range=0.5"):
        read_pass("clip:range=0")


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("int8", "QuantizeLinear"),
        ("int8:static", "QuantizeLinear"),
        ("int8:dynamic", "MatMulInteger"),
    ],
)
def test_int8_is_a_quarter_of_the_size_and_near_in_its_answers(way, kind):
    model = network(hidden=2048)
    made = applied(way, model)
    assert kind in {node.op_type for node in made.graph.node}
    assert made.ByteSize() < 0.5 * model.ByteSize()
    assert np.abs(answer(made) - answer(model)).max() < 0.05 * np.abs(answer(model)).max()
    # Seven bits of range.
    weights = [
        numpy_helper.to_array(tensor) for tensor in made.graph.initializer if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 2
    ]
    assert weights
    assert max(np.abs(part.astype(int)).max() for part in weights) <= 64


@pytest.mark.parametrize("way", ["percentile", "entropy"])
def test_a_narrower_range_costs_rare_values_and_little_of_the_rest(way):
    model = network(hidden=256)
    wide, narrow = (_scales(Quantizer(model, OUTLIERS, ranges).quantize(VARIANTS[0], [])) for ranges in ("static", way))
    assert len(wide) == 2
    assert all(0 < narrow[name] <= wide[name] for name in wide)
    assert any(narrow[name] < 0.8 * wide[name] for name in wide)
    made = applied(f"int8:{way}", model)
    assert np.abs(answer(made) - answer(model)).mean() < 0.1 * np.abs(answer(model)).mean()


def _scales(made):
    return {tensor.name: float(numpy_helper.to_array(tensor)) for tensor in made.graph.initializer if tensor.name in {"x_scale", "h_scale"}}


def test_a_bias_with_a_row_of_its_own_is_quantized_as_a_flat_one():
    model = network(hidden=256)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "c")
    bias.dims.insert(0, 1)
    made = applied("int8:static", model)
    assert np.array_equal(answer(made), answer(applied("int8:static", network(hidden=256))))


def test_int8_takes_the_dynamic_way_where_there_is_nothing_to_calibrate_on():
    kinds = {node.op_type for node in applied("int8", network(), calibration=None).graph.node}
    assert "MatMulInteger" in kinds


@pytest.mark.parametrize("text", ["prune:0.5", "clip:99", "fp16", "int8", "int4", "channels:0.5"])
def test_a_forest_is_refused_with_the_reason(text):
    found = read_pass(text)
    assert "tree ensemble" in found.supports(Work(forest(), CALIBRATION))


def test_what_cannot_be_quantized_is_named():
    found = read_pass("int8:static")
    assert "calibrate" in found.supports(Work(network()))
    assert "opset 12" in found.supports(Work(network(opset=12), CALIBRATION))
    pruned = read_pass("prune:0.5")
    assert "before int8" in pruned.supports(Work(applied("int8:dynamic", network())))
    convolution = network()
    del convolution.graph.node[:]
    convolution.graph.node.append(helper.make_node("Conv", ["x", "w1"], ["y"]))
    dynamic = read_pass("int8")
    assert "never quantized dynamically" in dynamic.supports(Work(convolution))


@pytest.mark.parametrize(
    "text",
    [
        "prune",
        "prune:1",
        "prune:0",
        "prune:x",
        "prune:nan",
        "clip:100",
        "clip",
        "int8:fast",
        "fp16:2",
        "graph:all",
        "channels",
        "channels:1",
        "int4:7",
        "int4:x",
    ],
)
def test_an_argument_that_means_nothing_is_refused(text):
    with pytest.raises(InvalidRequest, match=text.partition(":")[0]):
        read_pass(text)


@pytest.mark.parametrize("text", ["channels", "channels:1", "int4:7", "int4:x"])
def test_a_share_or_a_block_that_means_nothing_is_refused(text):
    with pytest.raises(InvalidRequest, match=text.partition(":")[0]):
        read_pass(text)


def test_an_unknown_pass_names_the_nearest():
    with pytest.raises(NotFound, match="Did you mean 'prune'"):
        read_pass("prun:0.5")
    assert list(PASSES)[:7] == ["graph", "int8", "prune", "clip", "channels", "int4", "fp16"]

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from modelyard.core.errors import InvalidRequest
from modelyard.optimize.base import Work
from modelyard.optimize.sparsity import Sparsity, read_sparsity, zeroed
from modelyard.optimize.table import read_pass
from modelyard.optimize.weights import layers, weight_tensors
from unit.optimize.test_passes import network, weights_of

PARTS = st.lists(st.integers(1, 40), min_size=1, max_size=4).map(
    lambda sizes: [np.random.default_rng(size).standard_normal((size, 3)).astype(np.float32) for size in sizes]
)


@given(PARTS, st.integers(1, 200))
def test_a_bound_on_the_weights_that_stay_holds_over_all_layers(weights, bound):
    left = zeroed(weights, Sparsity(keep=bound).kept(weights, [1] * len(weights)))
    total = sum(part.size for part in weights)
    assert sum(np.count_nonzero(part) for part in left) == min(bound, total)


@given(PARTS, st.integers(1, 60), st.floats(0.05, 0.95))
def test_a_bound_or_share_for_each_layer_holds_in_each(weights, bound, share):
    axes = [1] * len(weights)
    for part in zeroed(weights, Sparsity(keep=bound, each=True).kept(weights, axes)):
        assert np.count_nonzero(part) == min(bound, part.size)
    for part in zeroed(weights, Sparsity(share=share, each=True).kept(weights, axes)):
        assert np.count_nonzero(part) == part.size - int(share * part.size)


@given(st.integers(1, 4), st.integers(1, 33), st.integers(1, 7), st.integers(2, 8), st.sampled_from([0, 1]))
def test_of_every_m_weights_of_an_output_the_n_largest_stay(outputs, inputs, stay, of, axis):
    stay = min(stay, of - 1)
    rows = np.random.default_rng(inputs).standard_normal((outputs, inputs)).astype(np.float32)
    weights = np.moveaxis(rows, 0, axis)
    (left,) = zeroed([weights], Sparsity(pattern=(stay, of)).kept([weights], [axis]))
    found = np.moveaxis(left, axis, 0)
    for row, before in zip(found, rows, strict=True):
        whole = inputs // of * of
        for group, was in zip(row[:whole].reshape(-1, of), before[:whole].reshape(-1, of), strict=True):
            assert np.count_nonzero(group) == stay
            assert np.abs(group[group != 0]).min() >= np.abs(was[group == 0]).max()
        assert np.array_equal(row[whole:], before[whole:])


def test_halfway_half_as_many_are_gone():
    weights = [np.arange(1, 101, dtype=np.float32).reshape(10, 10)]
    assert np.count_nonzero(zeroed(weights, Sparsity(share=0.8).kept(weights, [1], 0.5))[0]) == 60


def test_n_of_m_follows_the_side_on_which_a_layer_sums():
    work = Work(network(hidden=16))
    made = read_pass("prune:2:4").run(work)
    first, second = (numpy_helper.to_array(tensor) for tensor in weight_tensors(made.graph))
    for weights in (first, second):  # both are [inputs, outputs]: four inputs in a row, for each output
        assert np.all(np.count_nonzero(weights.T.reshape(-1, 4), axis=1) == 2)
    total = weights_of(made).size
    assert work.notes["weights"] == {"all": total, "not_zero": total // 2, "layers": {"w1": 64, "w2": 24}}


def test_a_turned_matrix_and_a_convolution_have_their_outputs_first():
    turned = network()
    gemm = turned.graph.node[-1]
    gemm.attribute.append(helper.make_attribute("transB", 1))
    assert [layer.output_axis for layer in layers(turned.graph)] == [1, 0]
    turned.graph.node[1].op_type = "Conv"
    assert [layer.output_axis for layer in layers(turned.graph)] == [0, 0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("keep=0", "whole number"),
        ("keep=many", "whole number"),
        ("4:2", "N below M"),
        ("2:x", "N below M"),
        ("1:100", "at most 64"),
        ("1.5", "above 0 and below 1"),
    ],
)
def test_an_amount_that_means_nothing_is_refused(text, told):
    with pytest.raises(InvalidRequest, match=told):
        read_sparsity(text, each=False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prune:2:4,each", "anyway"),
        ("prune:0.8,steps=3", "the same as at once"),
        ("prune:2:4,steps=3,finetune", "at once"),
        ("prune:0.8,fintune", "Did you mean 'finetune'"),
        ("prune:0.8,finetune=x", "whole number from 1"),
        ("channels:0.5,steps=2", "no option 'steps'"),
        ("finetune:0", "number of epochs"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(text, told):
    with pytest.raises(InvalidRequest, match=told):
        read_pass(text)
